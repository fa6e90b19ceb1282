"""EC-DLM: in a diffusion language model experts choose tokens, more of them where less is masked.

Source: "Expert-Choice Routing Enables Adaptive Computation in Diffusion Language Models", arXiv 2604.01622, 2026; code
zhangshuibai/EC-DLM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._chars import bed_of, columns, on_chars
from turnout.nn.presets._compare import Variant
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.chars import Bed

__all__ = ["EC_DLM"]

LEAST, MOST = 1.0, 3.0


def _chosen_by_experts(size: Any, schedule: str = "linear_reverse") -> Sequence[Any]:
    from turnout.nn import ExpertChoice, ZLoss
    from turnout.nn.beds.chars import routed

    return routed(lambda: ExpertChoice(schedule=schedule, k_min=LEAST, k_max=MOST), lambda: [ZLoss(1e-3)])(size)


def _chosen_by_tokens(size: Any) -> Sequence[Any]:
    from turnout.nn.beds.chars import BASELINES

    return BASELINES["top-2 + switch"](size)


def _build() -> Mapping[str, Any]:
    from turnout.nn.beds.model import Size

    return {"layer": _chosen_by_experts(Size())[0]}


def _variant(bed: Bed, factory: Callable[[Any], Sequence[Any]]) -> Variant:
    def measure(seed: int) -> Mapping[str, float]:
        from turnout.nn.beds.diffusion import by_ratio, train_masked

        found = train_masked(bed, factory, seed)
        ratios = by_ratio(bed, found.model)
        return {**columns(found), **{f"loss at {ratio:.2f} masked": loss for ratio, loss in ratios.items()}}

    return measure


def judged(found: Figures, bed: Bed) -> Figures:
    """The figures, whose verdict holds only where the model reads: a tenth of a nat below what frequencies alone give.

    Before that a model has learned how often characters occur, and no claim about language can be tested.
    """
    from dataclasses import replace

    counts_V = bed.train[0].bincount(minlength=bed.size.vocabulary).double() + 1
    chance_V = counts_V / counts_V.sum()
    frequencies = float(-chance_V[bed.valid[0]].log().mean())
    protocol = f"{found.protocol}; frequencies alone give {frequencies:.3f}, and nothing counts that is not .1 below"
    reads = found.value.mean < frequencies - 0.1
    return replace(found, protocol=protocol, verdict=found.verdict if reads else "not at this size")


def _measure(system: System, run: Run) -> Figures:
    bed = bed_of(run)
    found = on_chars(
        system,
        run,
        bed,
        {
            "expert choice, linear-reverse": _variant(bed, _chosen_by_experts),
            "expert choice, constant": _variant(bed, lambda size: _chosen_by_experts(size, "constant")),
            "token choice, top-2 + switch": _variant(bed, _chosen_by_tokens),
        },
        against="token choice, top-2 + switch",
        says="here a bidirectional model that fills in masked characters; val loss is the diffusion bound, mean over "
        f"four mask ratios; expert choice takes {LEAST:.0f} to {MOST:.0f} experts a token, 2 on average",
    )
    return judged(found, bed)


EC_DLM = System(
    name="ec_dlm",
    number=30,
    title="Expert-choice diffusion language model",
    level="in-model",
    claim=Claim(
        "Expert choice reaches the same loss twice as fast as token choice in a diffusion language model, and capacity "
        "that falls with the mask ratio is best at equal FLOPs.",
        "repository README",
    ),
    parts=("selector:expert_choice", "balancer:z_loss", "gate:linear_gate", "experts:ffn"),
    novelty="selector",
    build=_build,
    measure=_measure,
    table="characters",
    deviations=(
        "16 experts and k of 1 to 3, where the authors have 512 experts, k of 8 to 32 and two shared experts beside.",
        "Experts choose among the batch; in the authors' code by default among each sequence.",
        "A chosen token's weight is its softmax over all experts; the authors' default is one over its chosen experts.",
        "Loss after equal steps; the authors' time to a given loss depends on their kernels.",
        "One mask ratio per batch in training, so that capacity follows it.",
        "A few hundred steps, in which a masked model barely gets past the frequencies of characters.",
    ),
    limits=("Only for models that see both sides: in a causal model expert choice leaks the future.",),
    code="github.com/zhangshuibai/EC-DLM",
)
