"""THOR: no gate; experts are drawn at random and two passes must agree.

Source: Zuo et al., "Taming Sparsely Activated Transformer with Stochastic Experts", 2021; code
microsoft/Stochastic-Mixture-of-Experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._chars import bed_of, on_chars, trained
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.model import CharModel, Passed

__all__ = ["THOR"]

EXPERTS, HIDDEN = 4, 64


def _random(size: Any) -> Sequence[Any]:
    from turnout.nn import RandomChoice
    from turnout.nn.beds.chars import ffn, routed

    return routed(lambda: RandomChoice(1, unit="batch", eval_unit="token"), pool=lambda s: ffn(s, EXPERTS, HIDDEN))(
        size
    )


def _learned(size: Any) -> Sequence[Any]:
    from turnout.nn import SwitchLoss, TopK
    from turnout.nn.beds.chars import ffn, routed

    return routed(lambda: TopK(1, normalize=False), lambda: [SwitchLoss(0.01)], pool=lambda s: ffn(s, EXPERTS, HIDDEN))(
        size
    )


def _build() -> Mapping[str, Any]:
    from turnout.nn import Consistency
    from turnout.nn.beds.model import Size

    return {"layer": _random(Size())[0], "loss": Consistency(5.0)}


def _twice(strength: float) -> Any:
    """Two passes through independent draws: both losses, and α times their symmetric divergence."""

    def objective(model: CharModel, ids_BS: Any, context: Any) -> tuple[Any, Passed]:
        from turnout.nn import Consistency
        from turnout.nn.beds.chars import next_char

        (first, one), (second, two) = (next_char(model, ids_BS, context) for _ in range(2))
        losses = {name: loss + two.losses[name] for name, loss in one.losses.items()}
        agree = Consistency(strength).between(one.logits, two.logits)
        return first + second + agree, one._replace(losses=losses)

    return objective


def _measure(system: System, run: Run) -> Figures:
    from turnout.nn.beds import chars

    bed, steps = bed_of(run), chars.STEPS // 2
    return on_chars(
        system,
        run,
        bed,
        {
            "thor": trained(bed, _random, objective=_twice(5.0), steps=steps),
            "two passes without consistency": trained(bed, _random, objective=_twice(0.0), steps=steps),
            "learned top-1 + switch, two passes": trained(bed, _learned, objective=_twice(0.0), steps=steps),
        },
        against="learned top-1 + switch, two passes",
        says="4 experts of 64 hidden units, one a token; every variant passes each batch twice, for half the steps",
    )


THOR = System(
    name="thor",
    number=63,
    title="THOR (stochastic experts)",
    level="in-model",
    claim=Claim(
        "Random experts with a consistency loss gain 2 BLEU over Switch Transformer in multilingual translation and "
        "equal a mixture of experts 18 times larger.",
        "abstract",
    ),
    parts=("selector:random_choice", "balancer:consistency", "experts:ffn", "gate:linear_gate"),
    novelty="balancer",
    build=_build,
    measure=_measure,
    table="characters",
    deviations=(
        "Four experts in every block and a random one per token at evaluation; the authors' IWSLT script has two, in "
        "every second block, and draws one per sentence.",
        "The layer keeps a linear gate whose scores nothing reads: a layer has six parts.",
    ),
    limits=(
        "Every expert must be able to do every token's work, so experts cannot specialise.",
        "At a strength of 5 the consistency loss slows early training: random experts without it are better here.",
    ),
    code="github.com/microsoft/Stochastic-Mixture-of-Experts",
)
