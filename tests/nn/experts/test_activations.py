from __future__ import annotations

import pytest
import torch

from turnout.nn.experts._activations import ACTIVATIONS, glu


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_glu_has_the_gradients_of_its_formula(activation: str) -> None:
    torch.manual_seed(0)
    first_NO = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    wanted_NH = ACTIVATIONS[activation](first_NO[:, :3]) * first_NO[:, 3:]
    torch.testing.assert_close(glu(first_NO, activation), wanted_NH)
    assert torch.autograd.gradcheck(lambda x: glu(x, activation), first_NO)
    assert torch.autograd.gradgradcheck(lambda x: glu(x, activation), first_NO)


def test_a_glu_takes_an_expanded_gradient() -> None:
    first_NO = torch.randn(4, 6, requires_grad=True)
    (found,) = torch.autograd.grad(glu(first_NO, "silu").sum(), first_NO)
    (wanted,) = torch.autograd.grad((torch.nn.functional.silu(first_NO[:, :3]) * first_NO[:, 3:]).sum(), first_NO)
    torch.testing.assert_close(found, wanted)
