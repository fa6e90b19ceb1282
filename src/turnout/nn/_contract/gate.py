"""Checks on gates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from turnout.nn import testing
from turnout.nn._contract._common import counted_once, referred
from turnout.nn._contract._refusal import refusal, refused

__all__ = [
    "a_token_is_scored_by_itself",
    "bad_rows_are_refused_with_their_shape",
    "its_parameters_learn",
    "logits_are_float32_of_every_expert",
    "nan_is_refused",
    "padding_does_not_matter",
    "recomputation_counts_once",
]

Make = Callable[..., Any]


def logits_are_float32_of_every_expert(make: Make) -> None:
    """[T, E] in float32, also for bfloat16 rows, a bfloat16 model, and under autocast."""
    for dtype in (torch.float32, torch.bfloat16):
        made = make().to(dtype)
        for item in referred(made):
            item.to(dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits_TE, _ = made(torch.randn(12, testing.WIDTH, dtype=dtype), testing.context(12))
        assert logits_TE.dtype == torch.float32, f"logits are {logits_TE.dtype} for {dtype}"
        assert logits_TE.shape == (12, made.experts), f"logits have shape {tuple(logits_TE.shape)}"


def its_parameters_learn(make: Make) -> None:
    """Every parameter of the gate, or of what it refers to, takes a finite gradient that is not 0."""
    torch.manual_seed(0)
    made = make()
    found = testing.exercise(made)
    learned = dict(made.named_parameters())
    for item in referred(made):
        learned.update({f"referred.{name}": p for name, p in item.named_parameters()})
    assert learned, "there is nothing to learn"
    assert found["output"].requires_grad, "the logits carry no gradient"
    weights = torch.randn(found["output"].shape, generator=torch.Generator().manual_seed(0))
    torch.autograd.backward((found["output"] * weights).sum())
    some = [p.grad is not None and bool(p.grad.any()) for p in learned.values()]
    assert any(some), "no parameter takes a gradient"
    bad = [name for name, p in made.named_parameters() if p.grad is None or not bool(torch.isfinite(p.grad).all())]
    assert not bad, f"no finite gradient for {bad}"


def a_token_is_scored_by_itself(make: Make) -> None:
    """In evaluation a token's logits do not depend on the other rows."""
    made = make().eval()
    x_TD, known = torch.randn(8, testing.WIDTH), testing.context(8)
    whole, _ = made(x_TD, known)
    changed = x_TD.clone()
    changed[2:] = torch.randn(6, testing.WIDTH)
    assert torch.allclose(made(changed, known)[0][:2], whole[:2], atol=1e-5), "other rows change a token's logits"


def padding_does_not_matter(make: Make) -> None:
    """What stands in padding changes no real token's logits, in training either."""
    made, mask_T = make(), torch.arange(8) % 4 != 3
    known = testing.context(8, mask_T=mask_T)
    x_TD = torch.randn(8, testing.WIDTH)
    whole, _ = made(x_TD, known)
    changed = torch.where(mask_T[:, None], x_TD, 100 * torch.randn(8, testing.WIDTH))
    assert torch.allclose(made(changed, known)[0][mask_T], whole[mask_T], atol=1e-4), "padding changes logits"


def bad_rows_are_refused_with_their_shape(make: Make) -> None:
    """Three dimensions, whole numbers, another width (where it has one), and a ragged mask raise RoutingError."""
    made = make()
    refused(lambda: made(torch.randn(2, 3, testing.WIDTH), testing.context(2)), "(2, 3, 8)")
    refused(lambda: made(torch.zeros(2, testing.WIDTH, dtype=torch.int64), testing.context(2)), "torch.int64")
    if made.width:
        refused(lambda: made(torch.randn(2, made.width + 1), testing.context(2)), f"got {made.width + 1}")
    ragged = testing.context(2, mask_T=torch.ones(3, dtype=torch.bool))
    refused(lambda: made(torch.randn(2, testing.WIDTH), ragged), "(3,)")


def nan_is_refused(make: Make) -> None:
    """A NaN in a row raises RoutingError with its number, unless the gate does not read rows."""
    made = make()
    x_TD = torch.randn(4, testing.WIDTH)
    x_TD[2] = float("nan")
    message = refusal(lambda: made(x_TD, testing.context(4)))
    if message is None:
        assert bool(torch.isfinite(made(x_TD, testing.context(4))[0]).all()), "NaN logits pass"
    else:
        assert "NaN" in message, f"the message {message!r} lacks NaN"


def recomputation_counts_once(make: Make) -> None:
    """Activation checkpointing leaves buffers and counts as a plain pass does, in both modes."""
    counted_once(make, lambda made, x_TD: made(x_TD, testing.context(12))[0])
