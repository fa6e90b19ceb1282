"""State beside the weights: buffers that stay in float32 in half precision, and counts that are no buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, distributed, nn

from turnout.nn.base import recomputing


class Steady(nn.Module):
    """A mixin: the buffers named in `steady` keep float32 under `.half()`, `.bfloat16()` and `.to(dtype)`.

    A bias that moves by 1e-3 is lost in bfloat16 as soon as it is above 0.25.

    >>> from turnout.nn import LossFreeBias
    >>> LossFreeBias(4).bfloat16().bias_E.dtype
    torch.float32
    """

    steady: ClassVar[tuple[str, ...]] = ()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept: dict[str, Any] = {name: self._buffers[name] for name in self.steady if name in self._buffers}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in kept.items():
            moved = self._buffers[name]
            if moved is not None and moved.dtype != value.dtype:
                self._buffers[name] = value.to(moved.device)
        return self


@torch.library.custom_op("turnout::once", mutates_args=())
def once(more: Tensor) -> Tensor:
    """A copy; zeros where activation checkpointing runs a forward again, which a graph finds out only when it runs."""
    return torch.zeros_like(more) if recomputing() else more.clone()


once.register_fake(torch.empty_like)


def tallied(total: Tensor, more: Tensor) -> Tensor:
    """What one process has counted since the last optimizer step, and `more`; on the device of `more`.

    A recomputed forward adds nothing.
    Such counts are plain attributes: DistributedDataParallel overwrites every buffer with the first process's before a
    forward, so that under gradient accumulation the others' counts would be lost and the first's counted for each.
    """
    if torch.compiler.is_compiling():
        more = torch.as_tensor(once(more))
    elif recomputing():
        return total
    return more.clone() if total.is_meta else more + total.to(more.device)


def drained(total: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """What all processes have counted since the last optimizer step, and the 0 to go on from; on the device of `like`.

    `after_step` is called by every process, as each waits for the others here.
    """
    none = torch.zeros_like(total, device=like.device)
    return over_replicas(tallied(total, none)), none


def over_replicas(value: Tensor) -> Tensor:
    """The sum over all processes, without a gradient; the value itself where there is one process."""
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total
