"""OpenMoE's analysis: routing by token id, fixed early, with drops towards the end of a sequence.

Source: Xue et al., "OpenMoE: An Early Effort on Open Mixture-of-Experts Language Models", arXiv 2402.01739; code
XueFuzhao/OpenMoE. The statistics are `token_predictability`, `overlap` and `drop_by_position`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import compare
from turnout.nn.presets._traces import traces
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.statistics import Trace

__all__ = ["OPENMOE_ANALYSIS"]

BALANCE, Z = 0.01, 1e-4
EARLY, STRETCHES = 80, 8
AGREEMENT = "agreement with the end"


def _build() -> Mapping[str, Any]:
    from turnout.nn import FFN, Capacity, LinearGate, RoutedLayer, RoutingStats, SwitchLoss, TopK, ZLoss

    balancers = [SwitchLoss(BALANCE), ZLoss(Z)]
    layer = RoutedLayer(
        LinearGate(64, 16),
        TopK(2),
        FFN(16, 64, 64),
        dispatcher=Capacity(),
        balancers=balancers,
        statistics=RoutingStats(),
    )
    return {"layer": layer}


def _measure(system: System, run: Run) -> Figures:
    from turnout.nn.beds.chars import STEPS

    return compare(
        system,
        run,
        {
            "trained router": lambda seed: _figures(run.data, seed, False),
            "i.i.d., same marginals": lambda seed: _figures(run.data, seed, True),
            "router before training": lambda seed: _untrained(run.data, seed),
        },
        metric="predictable from the character",
        better="higher",
        against="i.i.d., same marginals",
        table="characters of one text",
        protocol=f"top-2 of 16 experts, Switch loss .01, z-loss 1e-4, two layers, {STEPS} steps; predictable is the "
        "share of validation tokens whose heaviest expert is the usual one of their character on another half of the "
        f"tokens; agreement is the overlap of a token's experts at step {EARLY} (before training in the last row) with "
        "those at the end; drops at capacity 1, first come first served in each sequence; means over layers",
    )


def _figures(data: Path | None, seed: int, control: bool) -> Mapping[str, float]:
    """The last, the early layers' traces of a trained model, or both drawn again."""
    from turnout.nn.statistics import resampled

    last, early = _trained(data, seed)
    if control:
        last = [resampled(trace, seed) for trace in last]
        early = [resampled(trace, seed + 1000) for trace in early]
    return _row(last, early)


def _untrained(data: Path | None, seed: int) -> Mapping[str, float]:
    import torch

    from turnout.nn.beds import chars
    from turnout.nn.beds.model import CharModel
    from turnout.nn.statistics import overlap

    bed = chars.one_domain(data)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # as the bed starts its training
        model = CharModel(bed.size, _factory())
    first = traces(chars.evaluate(bed, model, seed))
    last, _ = _trained(data, seed)
    return _row(first, first) | {AGREEMENT: sum(map(overlap, first, last)) / len(last)}


def _row(last: list[Trace], early: list[Trace]) -> dict[str, float]:
    from turnout.nn.statistics import drop_by_position, overlap, token_predictability

    drops = [drop_by_position(trace, 1.0, STRETCHES).tolist() for trace in last]
    return {
        "predictable from the character": sum(map(token_predictability, last)) / len(last),
        AGREEMENT: sum(map(overlap, early, last)) / len(last),
        "dropped in the first eighth": sum(shares[0] for shares in drops) / len(drops),
        "dropped in the last eighth": sum(shares[-1] for shares in drops) / len(drops),
    }


@cache
def _trained(data: Path | None, seed: int) -> tuple[list[Trace], list[Trace]]:
    from turnout.nn.beds import chars

    trained = chars.train(chars.one_domain(data), _factory(), seed, snapshots=[EARLY])
    return traces(trained), traces(trained, trained.snapshots[EARLY])


def _factory() -> Any:
    from turnout.nn import SwitchLoss, TopK, ZLoss
    from turnout.nn.beds import chars

    return chars.routed(lambda: TopK(2), lambda: [SwitchLoss(BALANCE), ZLoss(Z)])


OPENMOE_ANALYSIS = System(
    name="openmoe_analysis",
    number=117,
    title="OpenMoE's routing analysis",
    level="in-model",
    claim=Claim(
        "Routing decisions are predominantly based on token ids, with minimal context relevance; they are determined "
        "early in training and remain largely unchanged, and tokens later in a sequence are dropped more often.",
        "arXiv 2402.01739, abstract",
    ),
    parts=(
        "gate:linear_gate",
        "selector:top_k",
        "balancer:switch_loss",
        "balancer:z_loss",
        "experts:ffn",
        "dispatcher:capacity",
    ),
    novelty="statistics",
    build=_build,
    deviations=(
        "Characters instead of subwords, a few hundred steps instead of a trillion tokens, every block routed instead "
        "of every fourth or sixth; the loss coefficients are the paper's (table 12), without its z-loss on the output.",
        "Training is dropless; drops are computed from the recorded choices at capacity 1.",
    ),
    limits=(
        "The verdict is on token ids. Routing is settled early in part only: at 40 % of the steps a token shares .47 "
        "of its experts with the end (.10 by chance).",
        "A router before training is somewhat predictable from the character too, as a linear map of its embedding.",
        "Two layers see little context: a deeper model's router could use more of it.",
        "Drops towards the end are a property of serving in order, so independent routing of the same marginals shows "
        "them as well; the row beside says how much the order of real text adds.",
    ),
    code="github.com/XueFuzhao/OpenMoE",
    table="characters",
    measure=_measure,
)
