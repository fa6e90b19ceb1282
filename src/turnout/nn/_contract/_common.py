"""What several checks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from turnout.nn import testing


def referred(part: Any) -> list[nn.Module]:
    """Modules that a part reads without owning them."""
    held = (value for value in vars(part).values() if isinstance(value, tuple))
    return [item for items in held for item in items if isinstance(item, nn.Module)]


def counted_once(make: Callable[..., Any], call: Callable[[Any, Tensor], Tensor | None]) -> None:
    """A recomputed pass leaves every buffer as a plain pass does, and `after_step` moves nothing twice."""
    for reentrant in (True, False):
        torch.manual_seed(0)
        plain = make()
        torch.manual_seed(0)
        wrapped = make()
        x_TD = torch.randn(12, testing.WIDTH, requires_grad=True)

        def forward(x: Tensor, made: Any = wrapped) -> Tensor:
            found = call(made, x)
            return x.sum() if found is None else x.sum() + found.sum()

        torch.manual_seed(5)
        call(plain, x_TD)
        torch.manual_seed(5)
        checkpoint(forward, x_TD, use_reentrant=reentrant).backward()
        for (name, one), other in zip(plain.named_buffers(), wrapped.buffers(), strict=True):
            assert torch.equal(one.nan_to_num(-1), other.nan_to_num(-1)), f"{name} differs under recomputation"
        assert plain.after_step() == wrapped.after_step(), "after_step differs under recomputation"
        assert not wrapped.after_step(), "a second after_step moves without a pass between"
