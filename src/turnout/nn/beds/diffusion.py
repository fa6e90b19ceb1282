"""The masked-diffusion bed: a bidirectional character model that fills in what is masked, at any share of masking.

A sequence's mask ratio r is drawn evenly; each character is masked with probability r, and the loss on masked
characters is weighed by 1/r, which bounds −log p (Sahoo et al., "Simple and Effective Masked Diffusion Language
Models", 2024). Experts see r as the context's time_T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from turnout.nn.beds.chars import Bed, Trained, train
from turnout.nn.beds.model import CharModel, Factory, Passed
from turnout.nn.plan import RoutingContext

MASK = 0
LOWEST = 0.1
BINS: Sequence[float] = (0.15, 0.4, 0.65, 0.9)


def masked(ids_BS: Tensor, ratio_B: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The windows with characters masked at each one's ratio, and where.

    >>> ids_BS = torch.ones(2, 1000, dtype=torch.int64)
    >>> seen_BS, hidden_BS = masked(ids_BS, torch.tensor([0.0, 0.5]), torch.Generator().manual_seed(0))
    >>> int(hidden_BS[0].sum()), 400 < int((seen_BS[1] == MASK).sum()) < 600
    (0, True)
    """
    drawn_BS = torch.rand(ids_BS.shape, generator=generator, device=ids_BS.device)
    hidden_BS = drawn_BS < ratio_B[:, None]
    return ids_BS.masked_fill(hidden_BS, MASK), hidden_BS


def denoise(model: CharModel, ids_BS: Tensor, context: RoutingContext) -> tuple[Tensor, Passed]:
    """The training objective on windows [B, S + 1]: one ratio for the batch, as capacity is set per batch."""
    assert context.generator is not None
    ids_BS = ids_BS[:, 1:]
    drawn = torch.rand((), generator=context.generator, device=ids_BS.device)
    ratio_B = (LOWEST + (1 - LOWEST) * drawn).expand(ids_BS.shape[0])
    return _loss(model, ids_BS, ratio_B, context, context.generator)


def _loss(
    model: CharModel, ids_BS: Tensor, ratio_B: Tensor, context: RoutingContext, generator: torch.Generator
) -> tuple[Tensor, Passed]:
    seen_BS, hidden_BS = masked(ids_BS, ratio_B, generator)
    passed = model(seen_BS, replace(context, time_T=ratio_B.repeat_interleave(ids_BS.shape[1])))
    loss_BS = F.cross_entropy(passed.logits.transpose(1, 2), ids_BS, reduction="none")
    return (loss_BS * hidden_BS / ratio_B[:, None]).mean(), passed


def train_masked(bed: Bed, factory: Factory, seed: int, **options: Any) -> Trained:
    """A model trained to denoise; its `loss` is the bound at the ratios of `BINS`, mean over them."""
    found = train(bed, factory, seed, objective=denoise, causal=False, **options)
    found.loss = sum(by_ratio(bed, found.model).values()) / len(BINS)
    return found


@torch.no_grad()
def by_ratio(bed: Bed, model: CharModel) -> dict[float, float]:
    """Nats per character of the bound at each mask ratio of `BINS`, on the validation windows."""
    model.eval()
    device = model.place.device
    ids_BS = bed.validation()[0][:, 1:].to(device)
    losses = {}
    for number, ratio in enumerate(BINS):
        generator = torch.Generator(device).manual_seed(number)
        ratio_B = torch.full((ids_BS.shape[0],), ratio, device=device)
        losses[ratio] = float(_loss(model, ids_BS, ratio_B, RoutingContext(), generator)[0])
    return losses
