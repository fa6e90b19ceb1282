"""A gate that goes on learning without moving what it decided for inputs it has seen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from turnout.errors import ParameterError


class Protected:
    """Keeps a weight's updates [E, D] out of the subspace of inputs it is to answer as before.

    `see(x)` gathers the covariance of inputs, `protect()` takes the directions that hold `share` of it; from then on
    every gradient is projected onto what is left. Call `protect` again after each further task: directions add up.
    `release` takes the hook off.

    Source: gradient projection memory (Saha et al., 2021), here for routers; SAME, which routers the idea is taken
    from, rescales such directions instead of closing them. Limits: the projection is of the gradient, so the optimizer
    must start anew (momentum of before would still move the subspace); plain weight decay moves it too.

    >>> weight = nn.Parameter(torch.zeros(2, 3))
    >>> kept = Protected(weight)
    >>> kept.see(torch.tensor([[1.0, 0.0, 0.0]]))
    >>> kept.protect()
    1
    >>> (weight * torch.ones(3)).sum().backward()
    >>> weight.grad.tolist()
    [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    """

    def __init__(self, weight: nn.Parameter, *, share: float = 0.95) -> None:
        if not 0 < share <= 1:
            raise ParameterError(f"Protected: `share` must be above 0 and at most 1, got {share}")
        self.share = share
        width = weight.shape[-1]
        self.covariance = torch.zeros(width, width, device=weight.device)
        self.free = torch.eye(width, device=weight.device)
        self._hook: Any = weight.register_hook(self._project)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def see(self, x_TD: Tensor) -> None:
        """Count inputs of the task that is to be kept."""
        x_TD = x_TD.reshape(-1, x_TD.shape[-1]).float()
        self.covariance += x_TD.T @ x_TD

    @torch.no_grad()
    def protect(self) -> int:
        """Close the directions that hold most of what was seen; returns how many are closed in all."""
        values, vectors = torch.linalg.eigh(self.covariance)
        order = values.argsort(descending=True)
        mass = values[order].clamp_min(0).cumsum(0)
        if not float(mass[-1]):
            raise ParameterError("Protected: no input was seen")
        count = int((mass < self.share * mass[-1]).sum()) + 1
        kept = vectors[:, order[:count]]
        self.free = torch.eye(len(values), device=kept.device) - kept @ kept.T
        return count

    def release(self) -> None:
        """Let the weight learn freely again."""
        self._hook.remove()

    def _project(self, grad_ED: Tensor) -> Tensor:
        return grad_ED @ self.free.to(grad_ED.dtype)
