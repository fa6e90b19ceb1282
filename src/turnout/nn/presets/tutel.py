"""Tutel's adaptive dispatch: the capacity of an expert is chosen anew for every call.

Source: Hwang et al., "Tutel: Adaptive Mixture-of-Experts at Scale", 2022.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from turnout.nn.presets._compare import Variant, compare
from turnout.systems.base import Claim, Figures, Run, System

if TYPE_CHECKING:
    from turnout.nn.base import Dispatcher

__all__ = ["TUTEL"]

TOKENS, WIDTH, HIDDEN, EXPERTS, K = 1024, 64, 128, 8, 2
FACTORS = (1.0, 0.0, -1.25, 0.0)  # one layer over four calls: fixed, dropless, capped, dropless again


def _build() -> Mapping[str, Any]:
    from turnout.nn import FFN, Capacity, LinearGate, RoutedLayer, TopK

    layer = RoutedLayer(
        LinearGate(WIDTH, EXPERTS),
        TopK(K),
        FFN(EXPERTS, WIDTH, HIDDEN, activation="gelu", gated=False),
        dispatcher=Capacity(0, priority="choice", pad=True),
    )
    return {"layer": layer}


def _variant(dispatcher: Dispatcher, *, switched: bool = False) -> Variant:
    """Difference to the dense reference on skewed tokens, what is dropped, rows computed and their CPU time."""

    def measure(seed: int) -> Mapping[str, float]:
        import torch

        from turnout.nn import Capacity, Dense

        torch.manual_seed(seed)
        layer = _build()["layer"].eval()
        # tokens lean to one side, so that the load is uneven as in early training
        x_TD = torch.randn(TOKENS, WIDTH) + 0.5 * torch.randn(WIDTH)
        with torch.no_grad():
            layer.dispatcher = Dense()
            wanted_TD = layer(x_TD).output
            layer.dispatcher = dispatcher
            if switched:
                assert isinstance(dispatcher, Capacity)
                for factor in FACTORS:
                    dispatcher.factor = factor
                    layer(x_TD)
            seconds = []
            for _ in range(5):
                start = time.process_time()
                routed = layer(x_TD)
                seconds.append(time.process_time() - start)
        plan = routed.plan
        rows = float(plan.held_TK.sum())
        if isinstance(dispatcher, Dense):
            rows = float(TOKENS * EXPERTS)
        elif isinstance(dispatcher, Capacity) and dispatcher.pad:
            rows = float(EXPERTS * dispatcher.capacity(plan))
        return {
            "difference to dense": float((routed.output - wanted_TD).norm() / wanted_TD.norm()),
            "dropped": 1 - float(plan.held_TK.sum()) / (TOKENS * K),
            "rows per chosen": rows / (TOKENS * K),
            "ms": 1e3 * min(seconds),
        }

    return measure


def _measure(system: System, run: Run) -> Figures:
    from turnout.nn import Capacity, Dense, Grouped

    def padded(factor: float) -> Capacity:
        return Capacity(factor, priority="choice", pad=True)

    return compare(
        system,
        run,
        {
            "dropless after switching (f = 0)": _variant(padded(0), switched=True),
            "fixed capacity f = 1": _variant(padded(1.0)),
            "fixed capacity f = 2": _variant(padded(2.0)),
            "capped f = -2": _variant(padded(-2.0)),
            "dropless, ragged rows": _variant(Capacity(0)),
            "grouped product": _variant(Grouped()),
            "dense": _variant(Dense()),
        },
        metric="difference to dense",
        against="fixed capacity f = 1",
        table="made tokens that lean to one side",
        protocol=f"one layer of {EXPERTS} experts, top-{K}, {TOKENS} tokens; one thread's CPU time, least of 5",
        mechanism=True,
    )


TUTEL = System(
    name="tutel",
    title="Tutel",
    number=115,
    level="in-model",
    claim=Claim(
        "one layout for all capacities lets a layer switch between fixed, dropless and capped dispatch on every call; "
        "4.96 and 5.75 times faster single layers on 16 and 2,048 GPUs.",
        "abstract, at second hand; the meaning of the capacity factor from the repository",
    ),
    parts=("gate:linear_gate", "selector:top_k", "dispatcher:capacity", "experts:ffn", "combiner:weighted_sum"),
    novelty="dispatcher",
    build=_build,
    deviations=(
        "the capacity is ⌈|f|·K·T/E⌉, where Tutel takes K·⌊|f|·⌈T/E⌉⌋",
        "one process: no all-to-all, no change of parallelism, no overlap",
        "made tokens: what is tested is that the modes mean what they say, not that a model trains better",
    ),
    limits=(
        "the speed-ups come from many GPUs and cannot be shown here",
        "dropless padding computes 2.1 times the chosen rows here; the ragged path is cheaper (3.3 against 4.7 ms)",
    ),
    code="https://github.com/microsoft/tutel",
    measure=_measure,
)
