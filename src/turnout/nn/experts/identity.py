"""Experts that do nothing, at no cost."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from turnout.base import Number
from turnout.nn.base import Experts, Segments

__all__ = ["Identity"]


class Identity(Experts):
    """E experts that give back their input times `scale`: 1 copies, 0 is the zero expert that skips a layer.

    Source: Jin et al., "MoE++" (zero and copy experts), 2024. Limits: nothing is learned but the gate.

    >>> import torch
    >>> from turnout.nn import LinearGate, RoutedLayer, TopK
    >>> layer, x = RoutedLayer(LinearGate(8, 2), TopK(1), Identity(2)), torch.randn(3, 8)
    >>> torch.equal(layer(x).output, x)
    True
    """

    rules: ClassVar = {"experts": Number(1, integer=True), "scale": Number()}

    def __init__(self, experts: int = 1, *, scale: float = 1.0) -> None:
        super().__init__()
        self.require(experts=experts, scale=scale)
        self.experts, self.scale = experts, scale

    def forward(self, x_ND: Tensor, segments: Segments) -> Tensor:
        """[N, D] → [N, D]."""
        return x_ND if self.scale == 1 else self.scale * x_ND
