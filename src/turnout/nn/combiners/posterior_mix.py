"""Experts mixed by the posterior of who is responsible, from a gate that was trained apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.base import Combiner, Dispatcher, Experts
from turnout.nn.plan import Plan, RoutingContext

__all__ = ["PosteriorMix"]


class PosteriorMix(Combiner):
    """y = Σ_e p(e | x) · expert_e(x) over the plan's experts: [T, M], p ∝ exp(logit_e) · prior_e, no gradient to p.

    With a gate trained to classify which expert's data x came from, and every expert trained on its own data, this is
    the exact flow of the whole (decentralized diffusion). `prior` corrects for shares that changed since the gate was
    trained. The plan says which experts run; the selector's weights are not used.

    Source: McAllister et al., "Decentralized Diffusion Models", 2025. Limits: as good as the classifier is calibrated;
    leaving experts out (top-k) makes the mix inexact.

    >>> from turnout.nn import FFN, LinearGate, RoutedLayer, Soft
    >>> layer = RoutedLayer(LinearGate(4, 3), Soft(), FFN(3, 4, 8), combiner=PosteriorMix())
    >>> tuple(layer(torch.randn(5, 4)).output.shape)
    (5, 4)
    """

    def __init__(self, prior: Sequence[float] | None = None) -> None:
        super().__init__()
        if prior is not None and not all(share > 0 for share in prior):
            raise RoutingError(f"PosteriorMix: a prior must be positive for every expert, got {list(prior)}")
        self.log_prior_E: Tensor | None
        self.register_buffer("log_prior_E", None if prior is None else torch.tensor(prior).log())

    def forward(
        self, x_TD: Tensor, plan: Plan, experts: Experts, dispatcher: Dispatcher, context: RoutingContext
    ) -> Tensor:
        """[T, M]."""
        logits_TE = plan.logits_TE.detach().float()
        if self.log_prior_E is not None:
            logits_TE = logits_TE + self.log_prior_E
        logits_TK = logits_TE.gather(-1, plan.idx_TK.clamp(max=plan.experts - 1))
        posterior_TK = logits_TK.masked_fill(~plan.held_TK, float("-inf")).softmax(-1).nan_to_num(0.0)
        y_TM: Tensor = dispatcher(x_TD, plan, experts).weighted_sum(posterior_TK)
        return y_TM
