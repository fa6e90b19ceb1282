"""Checks on combiners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from turnout.nn import testing
from turnout.nn.dispatch.dense import Dense
from turnout.nn.selectors.top_k import TopK

__all__ = ["experts_learn_through_it", "it_gives_one_output_per_token"]

Make = Callable[..., Any]


def it_gives_one_output_per_token(make: Make) -> None:
    """[T, M], finite, in training and in evaluation, with padding and without."""
    for mask_T in (None, torch.arange(12) % 4 != 3):
        for training in (True, False):
            output = testing.exercise(make().train(training), mask_T=mask_T)["output"]
            assert output.shape == (12, testing.WIDTH), f"the output has shape {tuple(output.shape)}"
            assert bool(torch.isfinite(output).all()), "the output is not finite"


def experts_learn_through_it(make: Make) -> None:
    """A loss on the output gives the experts finite gradients that are not all 0."""
    torch.manual_seed(0)
    made, pool = make(), testing.build("experts", "lora")
    for parameter in pool.parameters():
        parameter.data.normal_()
    known = testing.context(12)
    plan = TopK(2)(torch.randn(12, testing.EXPERTS), known)
    made(torch.randn(12, testing.WIDTH), plan, pool, Dense(), known).square().sum().backward()
    grads = [p.grad for p in pool.parameters() if p.grad is not None]
    assert any(bool(grad.any()) for grad in grads), "experts take no gradient"
    assert all(bool(torch.isfinite(grad).all()) for grad in grads), "a gradient is not finite"
