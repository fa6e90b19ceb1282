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


def kept(part: nn.Module) -> dict[str, Tensor]:
    """Copies of what a part remembers: buffers, and counts that its modules hold as plain tensors."""
    found = {name: buffer.clone() for name, buffer in part.named_buffers()}
    for prefix, module in part.named_modules():
        counts = {name: value for name, value in vars(module).items() if isinstance(value, Tensor)}
        found |= {f"{prefix}.{name}": value.detach().clone() for name, value in counts.items()}
    return found


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of what two parts, or one before and after, remember differently."""
    assert one.keys() == other.keys(), f"one remembers {sorted(one)}, the other {sorted(other)}"
    return [name for name in one if not torch.equal(one[name].nan_to_num(-1), other[name].nan_to_num(-1))]


def counted_once(make: Callable[..., Any], call: Callable[[Any, Tensor], Tensor | None]) -> None:
    """A recomputed pass leaves every buffer and count as a plain pass does, and `after_step` moves nothing twice."""
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
        found = differing(kept(plain), kept(wrapped))
        assert not found, f"{found} differ under recomputation"
        assert plain.after_step() == wrapped.after_step(), "after_step differs under recomputation"
        assert not wrapped.after_step(), "a second after_step moves without a pass between"
