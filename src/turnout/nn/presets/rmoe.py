"""RMoE: a GRU over layers remembers how a token was routed below.

Source: Qiu et al., "Layerwise Recurrent Router for Mixture-of-Experts", arXiv 2408.06793, ICLR 2025; code qiuzh20/RMoE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._chars import bed_of, on_chars, reference, trained
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.chars import Trained

__all__ = ["RMOE"]


def _factory(size: Any) -> Sequence[Any]:
    from turnout.nn import RecurrentGate, RoutedLayer, SwitchLoss, TopK
    from turnout.nn.beds.chars import CHOSEN, EXPERTS, ffn

    gates = RecurrentGate.stack(size.layers, size.width, EXPERTS, hidden=size.width)
    return [RoutedLayer(gate, TopK(CHOSEN), ffn(size), balancers=[SwitchLoss(0.01)]) for gate in gates]


def _build() -> Mapping[str, Any]:
    from turnout.nn.beds.model import Size

    return {"layers": tuple(_factory(Size()))}


def _across(found: Trained) -> Mapping[str, float]:
    from turnout.nn.statistics import mutual_information

    lower, upper = found.traces
    return {"mutual information of layers": mutual_information(lower, upper)}


def _measure(system: System, run: Run) -> Figures:
    bed = bed_of(run)
    return on_chars(
        system,
        run,
        bed,
        {
            "rmoe": trained(bed, _factory, _across),
            "top-2 + switch": reference(bed, "top-2 + switch", _across),
            "top-2, no balancer": reference(bed, "top-2, no balancer", _across),
        },
        against="top-2 + switch",
        says="mutual information of a token's heaviest experts in the two layers, in bits",
    )


RMOE = System(
    name="rmoe",
    number=69,
    title="RMoE (layerwise recurrent router)",
    level="in-model",
    claim=Claim(
        "Language models with a recurrent router consistently outperform a range of baseline routers.",
        "abstract",
    ),
    parts=("gate:recurrent_gate", "selector:top_k", "balancer:switch_loss", "experts:ffn"),
    novelty="gate",
    build=_build,
    measure=_measure,
    table="characters",
    deviations=(
        "Two layers, so one step of memory; the code's default has 32, its analyses 8 to 32.",
        "The GRU is as wide as the tokens and the switch loss weighs .01; the code's defaults are 256 and .001.",
    ),
    limits=("A layer cannot route before the one below has.",),
    code="github.com/qiuzh20/RMoE",
)
