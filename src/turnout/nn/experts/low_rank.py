"""Linear experts of low rank that stand in for something dear, fitted in closed form."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from turnout.base import Number
from turnout.errors import RoutingError
from turnout.nn.base import Experts, Segments

__all__ = ["LowRank"]


class LowRank(Experts):
    """E affine maps D → O of rank R: expert e gives B_e A_e x + b_e; `fit` makes one the best stand-in for a module.

    `fit` solves a ridge regression of given outputs on given inputs and keeps the R directions of its predictions
    that carry most variance (reduced-rank regression), so a skipped layer can be approximated instead of dropped.

    Source: Izenman, "Reduced-rank regression", 1975; the forecaster of Informed Routing. Limits: linear.

    >>> x_ND = torch.randn(200, 6)
    >>> y_NO = x_ND @ torch.randn(6, 1) @ torch.randn(1, 4) + 1
    >>> pool = LowRank(2, 6, 4, rank=1)
    >>> round(pool.fit(0, x_ND, y_NO, ridge=1e-6), 3)
    1.0
    """

    rules: ClassVar = {
        "experts": Number(1, integer=True),
        "width": Number(1, integer=True),
        "out": Number(1, integer=True, optional=True),
        "rank": Number(1, integer=True),
    }

    def __init__(self, experts: int, width: int, out: int | None = None, *, rank: int = 8) -> None:
        super().__init__()
        self.require(experts=experts, width=width, out=out, rank=rank)
        self.experts, self.width, self.out, self.rank = experts, width, out or width, rank
        self.down_ERD = nn.Parameter(torch.empty(experts, rank, width))
        self.up_EOR = nn.Parameter(torch.empty(experts, self.out, rank))
        self.bias_EO = nn.Parameter(torch.zeros(experts, self.out))
        for parameter in (self.down_ERD, self.up_EOR):
            bound = 1 / math.sqrt(parameter.shape[-1])
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x_ND: Tensor, segments: Segments) -> Tensor:
        """[N, D] → [N, O]."""
        y_NO = segments.linear(segments.linear(x_ND, self.down_ERD), self.up_EOR)
        return y_NO + segments.pick(self.bias_EO).to(y_NO.dtype)

    @torch.no_grad()
    def fit(self, expert: int, x_ND: Tensor, y_NO: Tensor, *, ridge: float = 1e-3) -> float:
        """Fit one expert to outputs; returns the share of their variance that it explains on the same rows.

        `ridge` is relative to the mean variance of the inputs. Raises RoutingError for shapes that disagree.
        """
        if x_ND.shape != (y_NO.shape[0], self.width) or y_NO.shape[1] != self.out:
            said = f"LowRank: fit takes inputs [N, {self.width}] and outputs [N, {self.out}]"
            raise RoutingError(f"{said}, got {tuple(x_ND.shape)} and {tuple(y_NO.shape)}")
        x, y = x_ND.double(), y_NO.double()
        mean_D, mean_O = x.mean(0), y.mean(0)
        x, y = x - mean_D, y - mean_O
        gram_DD = x.t() @ x
        gram_DD.diagonal().add_(ridge * gram_DD.diagonal().mean().clamp_min(1e-12))
        map_DO = torch.linalg.solve(gram_DD, x.t() @ y)
        kept = min(self.rank, self.out, self.width)
        directions_OR = torch.linalg.svd(x @ map_DO, full_matrices=False).Vh[:kept].t()
        down_RD = directions_OR.t() @ map_DO.t()
        self.down_ERD[expert].zero_()[: down_RD.shape[0]] = down_RD.to(self.down_ERD)
        self.up_EOR[expert].zero_()[:, : down_RD.shape[0]] = directions_OR.to(self.up_EOR)
        self.bias_EO[expert] = (mean_O - directions_OR @ (down_RD @ mean_D)).to(self.bias_EO)
        left = y - x @ down_RD.t() @ directions_OR.t()
        return float(1 - left.square().sum() / y.square().sum().clamp_min(1e-30))
