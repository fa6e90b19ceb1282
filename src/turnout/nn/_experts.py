"""What gates and balancers read of a pool of experts and of each other."""

from __future__ import annotations

from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.base import Experts, Gate
from turnout.nn.experts.expert_pool import ExpertPool


def encoder(pool: Experts, who: str) -> Tensor:
    """The first projection of every expert, [E, H, D]; of a GLU its gate. Raises RoutingError where there is none."""
    fused = getattr(pool, "gate_up_proj", None)
    if isinstance(fused, Tensor):
        return fused[:, : fused.shape[1] // 2]
    plain = getattr(pool, "up_proj", None)
    if isinstance(plain, Tensor):
        return plain
    if isinstance(pool, ExpertPool):
        whole = encoder(pool.store, who)
        return whole if pool.offered == tuple(range(pool.store.experts)) else whole[list(pool.offered)]
    raise RoutingError(f"{who} reads `up_proj` or `gate_up_proj` of the experts, {type(pool).__name__} has neither")


def rows(gate: Gate, who: str) -> Tensor:
    """One vector per expert, [E, D], that a gate compares x with. Raises RoutingError where a gate has none."""
    found = getattr(gate, "rows_ED", None)
    if not isinstance(found, Tensor):
        raise RoutingError(f"{who} reads one row per expert of the gate (`rows_ED`), {type(gate).__name__} has none")
    return found
