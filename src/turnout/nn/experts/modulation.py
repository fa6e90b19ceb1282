"""One shared network, modulated per expert."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from turnout.base import Number, OneOf
from turnout.nn.base import Experts, Segments
from turnout.nn.experts._activations import ACTIVATIONS

__all__ = ["Modulation"]


class Modulation(Experts):
    """E feature-wise modulations of one shared FFN D → H → D: expert e gives y · (1 + γ_e(y)) + β_e(y).

    y is the shared network's output, computed once per token (`prepare`); γ_e and β_e are linear maps of y (`mapped`,
    as MoFME's), else plain vectors. Both start at 0: every expert is the shared network.

    Source: Perez et al., "FiLM", 2018; MoFME (`RoyZry98/MoFME-Pytorch`), 2024. Deviation: 1 + γ, so that training
    starts at the shared network. Limits: experts cannot differ in what they compute inside.

    >>> from turnout.nn import LinearGate, RoutedLayer, TopK
    >>> layer = RoutedLayer(LinearGate(8, 4), TopK(2), Modulation(4, 8, 16))
    >>> tuple(layer(torch.randn(3, 8)).output.shape)
    (3, 8)
    """

    rules: ClassVar = {
        "experts": Number(1, integer=True),
        "width": Number(1, integer=True),
        "hidden": Number(1, integer=True),
        "activation": OneOf(tuple(ACTIVATIONS)),
    }

    def __init__(
        self, experts: int, width: int, hidden: int, *, activation: str = "gelu", mapped: bool = False
    ) -> None:
        super().__init__()
        self.require(experts=experts, width=width, hidden=hidden, activation=activation)
        self.experts, self.activation, self.mapped = experts, activation, mapped
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.gamma_ED, self.beta_ED = (nn.Parameter(torch.zeros(experts, width)) for _ in range(2))
        if mapped:
            self.film_E2DD = nn.Parameter(torch.zeros(experts, 2 * width, width))

    def prepare(self, x_TD: Tensor) -> Tensor:
        """The shared network, once per token."""
        made: Tensor = self.down(ACTIVATIONS[self.activation](self.up(x_TD)))
        return made

    def forward(self, y_ND: Tensor, segments: Segments) -> Tensor:
        """Prepared rows [N, D] → [N, D]."""
        gamma_ND, beta_ND = (segments.pick(each).to(y_ND.dtype) for each in (self.gamma_ED, self.beta_ED))
        if self.mapped:
            by_gamma_ND, by_beta_ND = segments.linear(y_ND, self.film_E2DD).chunk(2, dim=-1)
            gamma_ND, beta_ND = gamma_ND + by_gamma_ND, beta_ND + by_beta_ND
        return y_ND + y_ND * gamma_ND + beta_ND
