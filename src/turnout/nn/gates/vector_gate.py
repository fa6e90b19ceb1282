"""One vector per expert, made after the experts were trained apart."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.base import Number, OneOf
from turnout.nn.base import Gate
from turnout.nn.plan import RoutingContext

__all__ = ["VectorGate"]


class VectorGate(Gate):
    """logits from one vector v_e per expert: [T, D] → [T, E].

    `score` says how: `standard` compares x and v_e each standardised over the width, divided by √D (PHATGOOSE);
    `absolute` is |x · v_e| for unit vectors, whose sign means nothing (Arrow); `cosine` is their cosine. `temperature`
    divides. `opening` is the gate while it is fitted, σ(v_e · x), which multiplies one expert's output. The vectors
    start at 0, where every expert scores alike.

    Source: Muqeeth et al., "Learning to Route Among Specialized Experts for Zero-Shot Generalization" (PHATGOOSE),
    2024; Ostapenko et al., "Towards Modular LLMs" (Arrow), 2024. Limits: a vector knows its own expert's data only.

    >>> gate = VectorGate(4, 2, score="cosine")
    >>> gate.vectors.data = torch.eye(4)[:2]
    >>> gate(torch.tensor([[0.0, 3.0, 0.0, 0.0]]))[0].tolist()
    [[0.0, 1.0]]
    """

    rules: ClassVar = {
        "width": Number(1, integer=True),
        "experts": Number(1, integer=True),
        "score": OneOf(("standard", "absolute", "cosine")),
        "temperature": Number(1e-6),
    }

    def __init__(self, width: int, experts: int, *, score: str = "standard", temperature: float = 1.0) -> None:
        super().__init__()
        self.require(width=width, experts=experts, score=score, temperature=temperature)
        self.width, self.experts, self.score, self.temperature = width, experts, score, temperature
        self.vectors = nn.Parameter(torch.zeros(experts, width))

    def _logits(self, x_TD: Tensor, context: RoutingContext) -> Tensor:
        vectors_ED = self.vectors.float()
        if self.score == "standard":
            x_TD, vectors_ED = F.layer_norm(x_TD, x_TD.shape[-1:]), F.layer_norm(vectors_ED, x_TD.shape[-1:])
            standard_TE: Tensor = F.linear(x_TD, vectors_ED) / (x_TD.shape[-1] ** 0.5 * self.temperature)
            return standard_TE
        if self.score == "cosine":
            x_TD = F.normalize(x_TD, dim=-1)
        score_TE = F.linear(x_TD, F.normalize(vectors_ED, dim=-1))
        return (score_TE.abs() if self.score == "absolute" else score_TE) / self.temperature

    def opening(self, x_TD: Tensor, expert_T: Tensor) -> Tensor:
        """σ(v_e · x) for one expert per token: [T]."""
        vectors_TD = self.vectors.float().index_select(0, expert_T)
        opening_T: Tensor = torch.linalg.vecdot(x_TD.float(), vectors_TD).sigmoid()
        return opening_T
