"""How experts go with tasks and corpora."""

from __future__ import annotations

import torch
from torch import Tensor

from turnout.errors import RoutingError
from turnout.nn.statistics.load import load
from turnout.nn.statistics.trace import Trace, renumbered


def npmi(trace: Trace) -> Tensor:
    """Normalised pointwise mutual information of task and expert, [G, E] in [−1, 1].

    log(p(g, e) / p(g) p(e)) / −log p(g, e) over rows: 1 when the expert serves this task only and no other expert
    does, 0 when independent, −1 when they never meet. Rows follow the tasks' numbers in order. Source: Bouma,
    "Normalized (Pointwise) Mutual Information in Collocation Extraction", 2009.

    >>> trace = Trace.of(torch.tensor([[0], [0], [1], [1]]), 3, task_T=torch.tensor([0, 0, 1, 1]))
    >>> npmi(trace).tolist()
    [[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]]
    """
    joint = _joint(trace)
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    points = (joint / apart.clamp_min(1e-300)).log() / -joint.log()
    points = torch.where(joint >= 1, torch.ones_like(joint), points)
    return torch.where(joint > 0, points, -torch.ones_like(joint))


def task_information(trace: Trace) -> float:
    """Bits that a row's expert tells about its task; its control shows the bias of the sample."""
    joint = _joint(trace)
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return float(torch.where(joint > 0, joint * (joint / apart.clamp_min(1e-300)).log2(), 0.0).sum())


def delta_frequency(trace: Trace, other: Trace) -> Tensor:
    """How much more often a token of one corpus goes to each expert than a token of the other: [E] in [−1, 1].

    Positive where the first corpus uses it more.
    """
    _comparable(trace, other)
    return trace.chosen_TE.double().mean(0) - other.chosen_TE.double().mean(0)


def divergence(trace: Trace, other: Trace) -> float:
    """Jensen–Shannon divergence of the loads of two corpora, in bits: 0 when alike, 1 when they share no expert.

    Its control is `against="pooled"`.

    >>> divergence(Trace.of(torch.tensor([[0], [1]]), 4), Trace.of(torch.tensor([[2], [3]]), 4))
    1.0
    """
    _comparable(trace, other)
    first_E, second_E = load(trace), load(other)
    between_E = (first_E + second_E) / 2
    entropies = [torch.special.entr(share_E).sum() for share_E in (between_E, first_E, second_E)]
    nats = entropies[0] - (entropies[1] + entropies[2]) / 2
    return float(nats.clamp_min(0) / torch.tensor(2.0).double().log())


def _joint(trace: Trace) -> Tensor:
    task_T = renumbered(trace.seen().need("task_T"))
    rows = torch.zeros(int(task_T.max()) + 1, trace.experts, dtype=torch.float64)
    rows.index_add_(0, task_T, trace.chosen_TE.double())
    if not rows.any():
        raise RoutingError("no token of the trace has an expert")
    return rows / rows.sum()


def _comparable(trace: Trace, other: Trace) -> None:
    if trace.experts != other.experts:
        raise RoutingError(f"two corpora need the same experts, got {trace.experts} and {other.experts}")
    if not trace.tokens or not other.tokens:
        raise RoutingError("both corpora need at least one token")
