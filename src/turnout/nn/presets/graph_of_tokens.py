"""Graph of tokens: gate logits are averaged over tokens that attend to each other.

Source: Nguyen et al., "Improving Routing in Sparse Mixture of Experts with Graph of Tokens", arXiv 2505.00792,
2025.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._chars import bed_of, first_layer, on_chars, reference, trained
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.chars import Trained

__all__ = ["GRAPH_OF_TOKENS"]

MIX = 0.5


def _factory(size: Any) -> Sequence[Any]:
    from turnout.nn import LinearGate, SwitchLoss, TokenGraphGate, TopK
    from turnout.nn.beds.chars import routed

    def gate(size: Any, pool: Any) -> Any:
        return TokenGraphGate(LinearGate(size.width, pool.experts), by="attention", causal=True, mix=MIX)

    return routed(lambda: TopK(2), lambda: [SwitchLoss(0.01)], gate=gate)(size)


def _measure(system: System, run: Run) -> Figures:
    from turnout.nn.beds import chars

    bed = bed_of(run)

    def unsteady(found: Trained) -> Mapping[str, float]:
        from turnout.nn.statistics import flips

        (earlier,) = found.snapshots.values()
        noisy = chars.evaluate(bed, found.model, ids_BS=chars.corrupted(bed.validation()[0]))
        before = chars.traces(earlier, found.ids_BS, found.domain_B)
        kept_T = (noisy.ids_BS == found.ids_BS).flatten().nonzero()[:, 0].cpu()
        pairs = list(zip(before, found.traces, noisy.traces, strict=True))
        return {
            "flips in the last tenth of training": sum(flips(a, b) for a, b, _ in pairs) / len(pairs),
            "flips of clean tokens, 5 % corrupted": sum(flips(b.take(kept_T), c.take(kept_T)) for _, b, c in pairs)
            / len(pairs),
        }

    return on_chars(
        system,
        run,
        bed,
        {
            "graph of tokens": trained(bed, _factory, unsteady, attention=True, snapshots=(chars.STEPS * 9 // 10,)),
            "top-2 + switch": reference(bed, "top-2 + switch", unsteady),
            "top-2, no balancer": reference(bed, "top-2, no balancer", unsteady),
        },
        metric="flips in the last tenth of training",
        against="top-2 + switch",
        within={"val loss": 0.0},
        says="a flip is a token whose heaviest expert changes; the claim is fewer flips at no higher loss",
    )


GRAPH_OF_TOKENS = System(
    name="graph_of_tokens",
    number=24,
    title="Graph of tokens (attention-aware SMoE)",
    level="in-model",
    claim=Claim(
        "Routing that looks at related tokens reduces routing fluctuations and gains accuracy and robustness over a "
        "plain sparse mixture of experts.",
        "abstract",
    ),
    parts=("gate:token_graph_gate", "gate:linear_gate", "selector:top_k", "balancer:switch_loss", "experts:ffn"),
    novelty="gate",
    build=first_layer(_factory),
    measure=_measure,
    table="characters",
    deviations=(
        "Attention-aware form with the mean over heads, mixed half and half with the token's own logits; how the "
        "authors mix with the identity is a guess here.",
    ),
    limits=("Reads the attention weights, so fused attention kernels that never form them cannot be used.",),
)
