"""Selective Sinkhorn Routing: on a few training steps gate scores come from optimal transport.

Source: Nguyen et al., "Selective Sinkhorn Routing for Improved Sparse Mixture of Experts", arXiv 2511.08972, 2025; no
code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._chars import bed_of, first_layer, on_chars, reference, trained
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.beds.chars import Trained

__all__ = ["SSR"]


def _factory(size: Any) -> Sequence[Any]:
    from turnout.nn import Sinkhorn
    from turnout.nn.beds.chars import routed

    return routed(lambda: Sinkhorn(2, share=0.05))(size)


def _measure(system: System, run: Run) -> Figures:
    bed = bed_of(run)

    def corrupted(found: Trained) -> Mapping[str, float]:
        from turnout.nn.beds import chars

        ids_BS, _ = bed.validation()
        return {"val loss, 5 % corrupted": chars.evaluate(bed, found.model, ids_BS=chars.corrupted(ids_BS)).loss}

    return on_chars(
        system,
        run,
        bed,
        {
            "selective Sinkhorn": trained(bed, _factory, corrupted),
            "top-2 + switch": reference(bed, "top-2 + switch", corrupted),
            "top-2, no balancer": reference(bed, "top-2, no balancer", corrupted),
        },
        against="top-2 + switch",
        says="corrupted: 5 % of the characters read are replaced by others",
    )


SSR = System(
    name="ssr",
    number=22,
    title="Selective Sinkhorn Routing",
    level="in-model",
    claim=Claim(
        "A minimal degree of Sinkhorn routing in place of an auxiliary loss gives faster training, higher accuracy and "
        "more robustness to corrupted input.",
        "arXiv 2511.08972, abstract",
    ),
    parts=("selector:sinkhorn", "gate:linear_gate", "experts:ffn"),
    novelty="selector",
    build=first_layer(_factory),
    measure=_measure,
    table="characters",
    deviations=(
        "Transport on 5 % of the steps; .1 to 1 % suffice in the paper (secondary source), here that would be no step.",
        "Ten Sinkhorn iterations over the logits as they are (ξ = 1) and no noise; a secondary source gives ξ of .5 "
        "or 1, 20 to 100 iterations and Gaussian noise on the softmax steps.",
    ),
    limits=("Nothing balances at evaluation: softmax routing there is about as uneven as without a balancer.",),
)
