"""Checks on balancers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from turnout.nn import testing
from turnout.nn._contract._common import counted_once, differing, kept

__all__ = [
    "evaluation_changes_nothing",
    "it_scales_with_its_coefficient",
    "its_loss_is_a_finite_scalar_in_float32",
    "its_loss_teaches",
    "padding_does_not_count",
    "recomputation_counts_once",
]

Make = Callable[..., Any]
EXPERTS, WIDTH = testing.EXPERTS, testing.WIDTH


def its_loss_is_a_finite_scalar_in_float32(make: Make) -> None:
    """Or None; float32 under autocast too."""
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = testing.exercise(make()).get("output")
        if loss is None:
            return
        assert loss.shape == (), f"the loss has shape {tuple(loss.shape)}"
        assert loss.dtype == torch.float32, f"the loss is {loss.dtype}"
        assert bool(torch.isfinite(loss)), "the loss is not finite"


def its_loss_teaches(make: Make) -> None:
    """The loss has a gradient for the logits, the gate's rows or the experts, and it is finite."""
    torch.manual_seed(0)
    made, (x_TD, logits_TE), known = make(), _inputs(), testing.context(12)
    routing = testing.routing(x_TD, logits_TE, known)
    loss = made(routing)
    if loss is None:
        return
    loss.backward()
    reached = [logits_TE, x_TD, *routing.gate.parameters(), *routing.experts.parameters()]
    grads = [tensor.grad for tensor in reached if tensor.grad is not None]
    assert any(bool(grad.any()) for grad in grads), "the loss teaches nothing"
    assert all(bool(torch.isfinite(grad).all()) for grad in grads), "a gradient is not finite"


def padding_does_not_count(make: Make) -> None:
    """What stands in padding changes neither the loss nor what `after_step` will do."""
    mask_T = torch.arange(12) % 4 != 3
    known = testing.context(12, mask_T=mask_T)
    x_TD, logits_TE = (tensor.detach() for tensor in _inputs())
    losses, remembered = [], []
    for filling in (0.0, 9.0):
        torch.manual_seed(0)
        made = make()
        fill = filling * torch.arange(12)[:, None]
        routing = testing.routing(
            torch.where(mask_T[:, None], x_TD, fill.expand(12, WIDTH)),
            torch.where(mask_T[:, None], logits_TE, (fill * torch.arange(EXPERTS)).sin()),
            known,
        )
        torch.manual_seed(1)
        losses.append(made(routing))
        remembered.append(kept(made))
    found = differing(*remembered)
    assert not found, f"padding is counted in {found}"
    if losses[0] is not None:
        assert torch.allclose(losses[0], losses[1], rtol=1e-4, atol=1e-6), f"padding changes the loss: {losses}"


def it_scales_with_its_coefficient(make: Make) -> None:
    """Twice the coefficient is twice the loss, where there is a coefficient."""
    if "coefficient" not in make().rules:
        return
    one, two = (testing.exercise(make(coefficient=value)).get("output") for value in (1.0, 2.0))
    if one is not None and two is not None:
        assert torch.allclose(2 * one, two, rtol=1e-4), f"{one.item()} and {two.item()}"


def evaluation_changes_nothing(make: Make) -> None:
    """A pass in evaluation leaves every buffer and count, and moves nothing."""
    made = make().eval()
    before = kept(made)
    testing.exercise(made)
    assert not made.after_step(), "after_step moves after an evaluation"
    found = differing(before, kept(made))
    assert not found, f"evaluation changes {found}"


def recomputation_counts_once(make: Make) -> None:
    """Activation checkpointing leaves buffers and counts as a plain pass does, in both modes."""

    def call(made: Any, x_TD: Tensor) -> Tensor | None:
        torch.manual_seed(3)
        loss: Tensor | None = made(testing.routing(x_TD, x_TD[:, :EXPERTS], testing.context(12)))
        return loss

    counted_once(make, call)


def _inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_TD = torch.randn(12, WIDTH, generator=generator, requires_grad=True)
    return x_TD, torch.randn(12, EXPERTS, generator=generator, requires_grad=True)
