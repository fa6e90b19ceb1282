"""MoE-X: route each token to the ReLU expert that is expected to fire fewest hidden units.

Source: Yang et al., "Mixture of Experts Made Intrinsically Interpretable", arXiv 2503.07639, 2025; no code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._chars import bed_of, first_layer, on_chars, reference, trained
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.chars import Trained

__all__ = ["MOE_X"]

SLACK = 0.03


def _factory(size: Any, sparse: bool = True) -> Sequence[Any]:
    from turnout.nn import LinearGate, SparsityGate, SwitchLoss, TopK
    from turnout.nn.beds.chars import ffn, routed

    return routed(
        lambda: TopK(2),
        lambda: [SwitchLoss(0.01)],
        pool=lambda s: ffn(s, activation="relu"),
        gate=lambda s, pool: SparsityGate(pool) if sparse else LinearGate(s.width, pool.experts),
    )(size)


def _fired(found: Trained) -> Mapping[str, float]:
    """Hidden units that fire in the chosen experts, and how well the gate's formula foretells them in all experts."""
    import torch

    from turnout.nn import SparsityGate

    seen: list[Any] = []
    blocks: list[Any] = list(found.model.blocks)
    hooks = [block.register_forward_pre_hook(lambda _, args: seen.append(args[0])) for block in blocks]
    with torch.no_grad():
        found.model.eval()(found.ids_BS)
        shares, correlations = [], []
        for x, block, plan in zip(seen, blocks, found.plans, strict=True):
            x_TD = x.flatten(0, 1)
            fired_TE = torch.stack([(x_TD @ up.T > 0).float().mean(-1) for up in block.experts.up_proj], dim=1)
            expected_TE, _ = SparsityGate(block.experts)(x_TD)
            assert plan is not None
            shares.append(float(fired_TE[plan.chosen_TE].mean()))
            both = torch.stack([expected_TE.flatten(), fired_TE.flatten()])
            correlations.append(float(torch.corrcoef(both)[0, 1]))
    for hook in hooks:
        hook.remove()
    return {
        "hidden units that fire": sum(shares) / len(shares),
        "expected with fired (corr.)": sum(correlations) / len(correlations),
    }


def _measure(system: System, run: Run) -> Figures:
    bed = bed_of(run)
    nothing = {"hidden units that fire": float("nan"), "expected with fired (corr.)": float("nan")}
    return on_chars(
        system,
        run,
        bed,
        {
            "moe-x": trained(bed, _factory, _fired),
            "learned gate, ReLU experts": trained(bed, lambda size: _factory(size, sparse=False), _fired),
            "top-2 + switch": reference(bed, "top-2 + switch", lambda _: nothing),
        },
        metric="hidden units that fire",
        against="learned gate, ReLU experts",
        within={"val loss": SLACK},
        says=f"units above 0 in the chosen experts; the price may be {SLACK} nats",
    )


MOE_X = System(
    name="moe_x",
    number=110,
    title="MoE-X",
    level="in-model",
    claim=Claim(
        "Routing by expected sparsity makes a mixture of ReLU experts interpretable at a perplexity better than "
        "GPT-2's; the expectation follows the true sparsity with a correlation of −.95.",
        "arXiv 2503.07639, abstract; the correlation: catalogue, unchecked",
    ),
    parts=("gate:sparsity_gate", "selector:top_k", "balancer:switch_loss", "experts:ffn"),
    novelty="gate",
    build=first_layer(_factory),
    measure=_measure,
    table="characters",
    deviations=("Sparsity alone is measured; the paper's interpretability scores need a chess or a language model.",),
    limits=(
        "Sparsity has a price: .028 nats here, just within what the verdict allows.",
        "The expectation takes hidden values for normal; with few hidden units it is rough.",
    ),
)
