"""Dispatch for decoding: each chosen (token, expert) pair is one vector times one expert's weights."""

from __future__ import annotations

import torch
from torch import Tensor

from turnout.nn.base import Dispatched, Dispatcher, Experts
from turnout.nn.dispatch._segments import Order, RowSegments, run
from turnout.nn.plan import Plan

__all__ = ["PerToken"]


class PerToken(Dispatcher):
    """Row by row, reading only the chosen experts' weights; on a GPU one gather of their weights and one product.

    For T·K of a handful: on a CPU one token costs some tenths of a millisecond and little more than reading its
    experts' weights, by numpy's products, or compiled, where a row's product and the choice of its weights become one
    loop; with gradients, torch's products take up to 2.5 times as long.
    Limits: an expert that several rows chose is read once per row, so it is slow beyond some 16 rows; on a GPU the
    gathered weights take T·K experts' memory; numpy's products are not seen by torch's profiler and counters of FLOPs.

    >>> import torch
    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16), dispatcher=PerToken())
    >>> tuple(layer(torch.randn(1, 8)).output.shape)
    (1, 8)
    """

    def _dispatch(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Dispatched:
        def segments(order: Order) -> RowSegments:
            return RowSegments(order.expert_N, plan.experts)

        return run(x_TD, plan, experts, segments)

    def _weighted(self, x_TD: Tensor, plan: Plan, experts: Experts) -> Tensor:
        if not (plan.full and plan.kept_TK is None and experts.stacked):
            return super()._weighted(x_TD, plan, experts)
        # rows by themselves need no order, so those of a token stay side by side: no sort, no way back
        segments = RowSegments(plan.idx_TK.reshape(-1), plan.experts)
        if plan.tokens == 1:  # the usual step of decoding, by fewer operators
            rows_KM = experts(x_TD.expand(plan.k, -1), segments)
            return torch.mm(plan.weights_TK.to(rows_KM.dtype), rows_KM)
        rows_NM = experts(x_TD[:, None].expand(-1, plan.k, -1).reshape(-1, x_TD.shape[1]), segments)
        y_TKM = rows_NM.view(plan.tokens, plan.k, rows_NM.shape[1])
        return torch.bmm(plan.weights_TK[:, None].to(y_TKM.dtype), y_TKM)[:, 0]
