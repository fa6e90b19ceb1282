"""What routing did, gathered over passes: numbers, a printed table, plots, and scalars for a run's log."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from turnout.errors import ParameterError, RoutingError
from turnout.nn.base import recomputing
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.statistics import _show
from turnout.nn.statistics._record import Record
from turnout.nn.statistics.drops import dropped
from turnout.nn.statistics.load import coefficient_of_variation, dead_experts, load_entropy, max_violation
from turnout.nn.statistics.sparsity import token_sparsity
from turnout.nn.statistics.trace import Trace
from turnout.nn.statistics.weights import effective_support, experts_per_token, score_entropy


class RoutingStats:
    """Counts over all passes and, for each layer, the choices of the latest `limit` tokens as a `Trace`.

    One object may serve several layers: `RoutingContext.layer` tells them apart. Not a module: it takes no gradient and
    stays out of checkpoints; a pass that activation checkpointing recomputes is not counted again. With `keep` each
    pass's whole plan stays, without a bound. Sequences are the context's `sequence_T`, else rows of a [B, S, D] input.

    Limits: a trace holds some 8 + 6 K bytes a token; passes inside a compiled graph break it.

    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> stats = RoutingStats()
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), statistics=stats)
    >>> _ = layer(torch.randn(2, 5, 8))
    >>> stats.tokens, int(stats.counts_E.sum()), stats.summary()["experts_per_token"]
    (10, 20, 2.0)
    """

    def __init__(self, *, limit: int = 16_384, keep: bool = False) -> None:
        if limit < 0:
            raise ParameterError(f"RoutingStats: `limit` must be at least 0 tokens, got {limit}")
        self.limit, self.keep = limit, keep
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._records: dict[int, Record] = {}
        self.plans: list[Plan] = []

    @torch.no_grad()
    def update(self, plan: Plan, context: RoutingContext, length: int | None = None) -> None:
        """Count one pass; `length` is the tokens of a sequence where the context numbers none.

        Raises RoutingError where a layer's number of experts changes.
        """
        if recomputing():
            return
        record = self._records.setdefault(context.layer, Record(plan.experts, self.limit))
        if record.experts != plan.experts:
            said = f"layer {context.layer} has {record.experts} experts, this pass {plan.experts}"
            raise RoutingError(f"{said}; give layers different numbers in RoutingContext, or each its RoutingStats")
        record.add(plan, context, length)
        if self.keep:
            self.plans.append(plan)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers seen, in order."""
        return tuple(sorted(self._records))

    @property
    def tokens(self) -> int:
        """Tokens of all passes, those of the layer that saw most; padding is none of them."""
        return max((record.tokens for record in self._records.values()), default=0)

    @property
    def counts_E(self) -> Tensor:
        """Rows per expert over all passes, int64, summed over layers. Raises RoutingError where their E differ."""
        counts = [self.counts(layer) for layer in self.layers]
        if len({len(counts_E) for counts_E in counts}) > 1:
            raise RoutingError("the layers have different numbers of experts; ask for `counts(layer)`")
        return torch.stack(counts).sum(0) if counts else torch.zeros(0, dtype=torch.int64)

    def counts(self, layer: int | None = None) -> Tensor:
        """Rows per expert of one layer over all passes, int64 on the CPU."""
        return self._record(layer).counts_E.cpu()

    def trace(self, layer: int | None = None) -> Trace:
        """The latest choices of a layer; None means the only one. Raises RoutingError for a layer not seen."""
        return self._record(layer).trace()

    def summary(self, layer: int | None = None) -> dict[str, float]:
        """The figures of a layer, or their mean over the layers that have them.

        Load is over all passes, the rest over the trace. A layer that has sent no token anywhere has no load to speak
        of: all of its experts are dead.
        """
        if layer is None:
            found = list(self.by_layer().values())
            if not found:
                raise RoutingError("nothing was routed yet, so there is nothing to sum up")
            names = dict.fromkeys(name for figures in found for name in figures)
            each = {name: [figures[name] for figures in found if name in figures] for name in names}
            return {name: sum(values) / len(values) for name, values in each.items()}
        counts_E, trace = self.counts(layer), self.trace(layer)
        figures = {"dead_experts": float(len(counts_E))}
        if bool(counts_E.any()):
            figures = {
                "coefficient_of_variation": coefficient_of_variation(counts_E),
                "max_violation": max_violation(counts_E),
                "dead_experts": float(dead_experts(counts_E)),
                "load_entropy": load_entropy(counts_E),
            }
        if trace.tokens:
            figures |= {"experts_per_token": experts_per_token(trace), "token_sparsity": token_sparsity(trace)}
        if bool(trace.mask_TK.any()):
            figures |= {"effective_support": effective_support(trace), "score_entropy": score_entropy(trace)}
            figures |= {"dropped": dropped(trace)}
        return figures

    def by_layer(self) -> dict[int, dict[str, float]]:
        """`summary` of every layer."""
        return {layer: self.summary(layer) for layer in self.layers}

    def scalars(self, prefix: str = "routing") -> dict[str, float]:
        """Flat names for a run's log: `routing/max_violation` (mean) and `routing/layer0/max_violation`."""
        flat = {f"{prefix}/{name}": value for name, value in self.summary().items()}
        for layer, figures in self.by_layer().items():
            flat |= {f"{prefix}/layer{layer}/{name}": value for name, value in figures.items()}
        return flat

    def log_to(self, writer: Any, step: int, prefix: str = "routing") -> None:
        """Write the scalars to a TensorBoard `SummaryWriter` (add_scalar) or a Weights & Biases run (log)."""
        if callable(getattr(writer, "add_scalar", None)):
            for name, value in self.scalars(prefix).items():
                writer.add_scalar(name, value, step)
        elif callable(getattr(writer, "log", None)):
            writer.log(self.scalars(prefix), step=step)
        else:
            raise ParameterError(f"log_to needs an object with add_scalar or log, got {type(writer).__name__}")

    def table(self) -> Any:
        """A rich table, a row a layer and their mean."""
        return _show.table(self)

    def plot(self) -> Any:
        """A matplotlib figure: load by layer and expert, its histogram, and score entropy by layer."""
        return _show.figure(self)

    def __str__(self) -> str:
        return _show.text(self) if self._records else "RoutingStats: nothing routed yet"

    def _record(self, layer: int | None) -> Record:
        if layer is None and len(self._records) == 1:
            return next(iter(self._records.values()))
        if layer is None or layer not in self._records:
            asked = "say which layer" if layer is None else f"layer {layer} was not seen"
            raise RoutingError(f"{asked}; seen: {', '.join(map(str, self.layers)) or 'none'}")
        return self._records[layer]
