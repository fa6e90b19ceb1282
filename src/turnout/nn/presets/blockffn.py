"""BlockFFN: a ReLU router with RMSNorm, and losses that make neighbours fire the same experts.

Source: Song et al., "BlockFFN: Towards End-Side Acceleration-Friendly Mixture-of-Experts with Chunk-Level Activation
Sparsity", 2025; code thunlp/BlockFFN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._chars import bed_of, first_layer, on_chars, reference, trained
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.chars import Trained

__all__ = ["BLOCKFFN"]

ACTIVE, SLACK = 2.0, 0.03


def _factory(size: Any, losses: bool = True) -> Sequence[Any]:
    from turnout.nn import ChunkLocality, L1Controller, ReLU
    from turnout.nn.beds.chars import EXPERTS, routed

    def balancers() -> list[Any]:
        control = L1Controller(ACTIVE)
        return [control, ChunkLocality()] if losses else [control]

    return routed(lambda: ReLU(EXPERTS), balancers)(size)


def _sparse(found: Trained) -> Mapping[str, float]:
    from turnout.nn.statistics import chunk_sparsity, token_sparsity

    def mean(statistic: Any) -> float:
        traces = found.traces
        return float(sum(statistic(trace) for trace in traces)) / len(traces)

    return {"token sparsity": mean(token_sparsity), "8-token chunk sparsity": mean(chunk_sparsity)}


def _measure(system: System, run: Run) -> Figures:
    bed = bed_of(run)
    return on_chars(
        system,
        run,
        bed,
        {
            "blockffn": trained(bed, _factory, _sparse),
            "without the chunk losses": trained(bed, lambda size: _factory(size, losses=False), _sparse),
            "top-2 + switch": reference(bed, "top-2 + switch", _sparse),
        },
        metric="8-token chunk sparsity",
        against="without the chunk losses",
        better="higher",
        within={"val loss": SLACK},
        says=f"both ReLU routers are steered to {ACTIVE:.0f} experts a token; the price may be {SLACK} nats",
    )


BLOCKFFN = System(
    name="blockffn",
    number=77,
    title="BlockFFN",
    level="in-model",
    claim=Claim(
        "Better than other mixtures of experts at over 80 % token-level and 70 % 8-token chunk-level sparsity, and up "
        "to 3.67 times the speed of dense models on devices.",
        "arXiv 2507.08771, abstract",
    ),
    parts=(
        "selector:relu",
        "balancer:chunk_locality",
        "balancer:l1_controller",
        "gate:linear_gate",
        "experts:ffn",
    ),
    novelty="balancer",
    build=first_layer(_factory),
    measure=_measure,
    table="characters",
    deviations=(
        "Chunk losses of fixed weight (1e-3 and 1e-1) over chunks of 8; the authors train with chunks of 64, start at "
        "2e-3 (1e-3 for .8 B) and 5e-2 and let a scheduler move them.",
        "ReMoE's L1 controller holds the number of experts; the authors' training runs have no L1 loss.",
        "Speed is not measured here.",
    ),
    limits=(
        "Nothing balances: with the chunk losses almost half of the experts are dead here, and both ReLU routers lose "
        ".02 nats to top-2 + switch.",
        "With the chunk losses, which also silence experts, 1.64 of the 2 experts a token are left: the controller can "
        "only press the number down.",
    ),
    code="github.com/thunlp/BlockFFN",
)
