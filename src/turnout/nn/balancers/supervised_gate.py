"""A gate told by label what its weights should be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from turnout.base import Number, OneOf
from turnout.errors import ParameterError, RoutingError
from turnout.nn.balancers._parts import mean, real
from turnout.nn.base import Balancer, Routing

__all__ = ["SupervisedGate"]


class SupervisedGate(Balancer):
    """λ · mean over labelled tokens of Σ_e (w_e − target_e)², target from a table [tasks, E] by the context's task_T.

    `of="weights"` compares the plan's weights (soft gates: MoGU), `scores` the gate's scores over their sum;
    `loss="cross_entropy"` takes −Σ target log p of the logits instead, for a router that classifies. A task of −1 has
    no label; padding is left out.

    Source: Du et al., "MoGU", 2024 (λ on both weights, benign → usable, malicious → safe). Limits: needs labels; with
    top-k weights only the chosen experts' gate learns.

    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, Soft
    >>> told = SupervisedGate([[1.0, 0.0], [0.0, 1.0]])
    >>> layer = RoutedLayer(LinearGate(8, 2), Soft(), FFN(2, 8, 16), balancers=[told])
    >>> from turnout.nn import RoutingContext
    >>> context = RoutingContext(task_T=torch.tensor([0, 1, -1]))
    >>> layer(torch.zeros(3, 8), context).losses["supervised_gate"].item()
    0.5
    """

    rules: ClassVar = {
        "coefficient": Number(0),
        "of": OneOf(("weights", "scores")),
        "loss": OneOf(("square", "cross_entropy")),
    }

    def __init__(
        self,
        targets: Sequence[Sequence[float]],
        coefficient: float = 1.0,
        *,
        of: str = "weights",
        loss: str = "square",
    ) -> None:
        super().__init__()
        self.require(coefficient=coefficient, of=of, loss=loss)
        if not len(targets) or len({len(row) for row in targets}) > 1:
            raise ParameterError("SupervisedGate: `targets` must be one row per task, each one number per expert")
        self.coefficient, self.of, self.loss = coefficient, of, loss
        self.targets_LE: Tensor
        self.register_buffer("targets_LE", torch.tensor([list(map(float, row)) for row in targets]), persistent=False)

    def _loss(self, routing: Routing) -> Tensor:
        plan, task_T = routing.plan, routing.context.task_T
        if task_T is None or task_T.shape != (plan.tokens,):
            got = None if task_T is None else tuple(task_T.shape)
            raise RoutingError(f"SupervisedGate needs the context's task_T of shape ({plan.tokens},), got {got}")
        if self.targets_LE.shape[1] != plan.experts:
            raise RoutingError(f"SupervisedGate's rows have {self.targets_LE.shape[1]} experts, not {plan.experts}")
        task_T = real(task_T, routing)
        labelled_T = task_T >= 0
        if bool((task_T >= len(self.targets_LE)).any()):
            raise RoutingError(f"SupervisedGate has {len(self.targets_LE)} tasks, got task {int(task_T.max())}")
        target_TE = self.targets_LE[task_T[labelled_T]]
        if self.loss == "cross_entropy":
            log_p_TE = real(plan.logits_TE, routing)[labelled_T].log_softmax(-1)
            return mean(-(target_TE * log_p_TE.clamp_min(-1e4)).sum(-1))  # a silenced expert is at −inf, and 0 · inf
        weights_TE = plan.weights_TE
        if self.of == "scores":
            weights_TE = F.normalize(plan.scores_TE, p=1.0, dim=-1)
        return mean((real(weights_TE, routing)[labelled_T] - target_TE).square().sum(-1))
