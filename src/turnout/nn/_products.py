"""Products of float32 matrices on a CPU by the library that uses all of it.

torch multiplies by Intel's MKL, which keeps its AVX-512 kernels for Intel's processors: on AMD's the same product takes
twice the time. oneDNN, which torch carries too, has them everywhere, and makes a kernel for each shape it meets; so
rows are counted in steps, that a few dozen kernels serve (`stepped`).

Limits: oneDNN remembers 1,024 kernels, some 400 of them for the sizes of one layer; pools of many shapes in one model
take turns there. The operator is the one that torch's own compiler calls, and no part of torch's documented interface;
where it is absent, or refuses, torch's usual product stands in.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEP = 16  # rows
FEWEST = 2**22  # multiplications of a product, from which on a kernel of its own pays


class Products:
    """torch's usual ones."""

    def mm(self, left: Tensor, right: Tensor) -> Tensor:
        """left @ right."""
        return torch.mm(left, right)

    def write(self, left: Tensor, right: Tensor, out: Tensor, *, add: bool = False) -> None:
        """out = left @ right, or out += left @ right; rows that `filled` has added to `left` are left out."""
        if add:
            out.addmm_(left, right)
        else:
            torch.mm(left, right, out=out)

    def filled(self, rows_NI: Tensor) -> Tensor:
        """The rows, and rows of 0 after them where these products go by steps."""
        return rows_NI


class OneDNN(Products):
    """oneDNN's."""

    def mm(self, left: Tensor, right: Tensor) -> Tensor:
        """left @ right."""
        made: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")
        return made

    def write(self, left: Tensor, right: Tensor, out: Tensor, *, add: bool = False) -> None:
        """Limits: the operator has no `out`; what it made is copied while it is in the cache."""
        made = self.mm(left, right)[: len(out)]
        if add:
            out.add_(made)
        else:
            out.copy_(made)

    def filled(self, rows_NI: Tensor) -> Tensor:
        """Up to the next step."""
        return F.pad(rows_NI, (0, 0, 0, stepped(len(rows_NI)) - len(rows_NI)))


USUAL, ONEDNN = Products(), OneDNN()


def best(weight_EOI: Tensor, rows: int) -> Products:
    """Whose products to take for so many rows of all experts together.

    Whoever watches or replaces torch's operators (fake tensors, selective checkpointing, counters of FLOPs) sees the
    usual ones.
    """
    plain = type(weight_EOI) in (Tensor, nn.Parameter) and weight_EOI.device.type == "cpu"
    if not plain or weight_EOI.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return USUAL
    large = rows * weight_EOI.numel() >= FEWEST * len(weight_EOI) ** 2
    watched = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0
    allowed = torch.backends.mkldnn.enabled  # a user's switch
    return ONEDNN if large and allowed and not watched and _held_back() else USUAL


def stepped(rows: int) -> int:
    """Rows up to the next step, so that few different numbers occur.

    >>> [stepped(rows) for rows in (0, 1, 130)]
    [0, 16, 144]
    """
    return -(-rows // STEP) * STEP


@cache
def _held_back() -> bool:
    """Whether MKL leaves AVX-512 aside that oneDNN would use."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or "AuthenticAMD" not in _processor():
        return False
    try:
        ONEDNN.mm(torch.ones(2, 2), torch.ones(2, 2))
    except (AttributeError, RuntimeError, TypeError):
        return False
    return True


def _processor() -> str:
    """What the system says of its processor, its vendor among it."""
    told = Path("/proc/cpuinfo")
    return told.read_text().partition("\n\n")[0] if told.exists() else platform.processor()
