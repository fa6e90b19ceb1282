"""What every router must be shown beside: simple rules that learn from the training side and choose on the test side.

A baseline returns the chance of each expert per query, shape (N, E): one-hot for all but `random`.
Shape letters: N queries, E experts, B bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.evaluation.tables import Table
from turnout.features import Floats

Chooser = Callable[[Table, Table], Floats | None]


@dataclass(frozen=True, slots=True)
class Baseline:
    """A named rule. `choose(train, test)` is None where the log lacks what the rule needs (costs, tasks, texts)."""

    name: str
    note: str
    choose: Chooser


def best_single(train: Table) -> int:
    """The column with the best mean score on the training side; ties go to the cheaper, then to the earlier expert."""
    mean_E = train.value_NE.mean(axis=0)
    cost_E = np.zeros(len(mean_E)) if train.spend_NE is None else train.spend_NE.mean(axis=0)
    return int(np.lexsort((cost_E, -mean_E))[0])


def one_hot(choice_N: NDArray[np.integer[Any]] | list[int], experts: int) -> Floats:
    """Certain choices as chances, shape (N, E)."""
    return np.asarray(np.eye(experts)[choice_N])


def _constant(column: int, test: Table) -> Floats:
    return one_hot(np.full(len(test), column), len(test.experts))


def _random(train: Table, test: Table) -> Floats:
    return np.full((len(test), len(train.experts)), 1.0 / len(train.experts))


def _cheapest(train: Table, test: Table) -> Floats | None:
    return None if train.spend_NE is None else _constant(int(train.spend_NE.mean(axis=0).argmin()), test)


def _dearest(train: Table, test: Table) -> Floats | None:
    return None if train.spend_NE is None else _constant(int(train.spend_NE.mean(axis=0).argmax()), test)


def _best_single(train: Table, test: Table) -> Floats:
    return _constant(best_single(train), test)


def lengths(table: Table) -> Floats:
    """Characters per prompt, shape (N,)."""
    return np.array([len(text) for text in table.texts], dtype=np.float64)


def _prompt_length(train: Table, test: Table, bins: int = 10, prior: float = 20.0) -> Floats | None:
    """The best expert per decile of prompt length; bin means are shrunk to the overall mean."""
    length_N = lengths(train)
    if not length_N.any():
        return None
    edges = np.unique(np.quantile(length_N, np.linspace(0, 1, bins + 1)[1:-1]))
    mean_BE = _bin_means(np.searchsorted(edges, length_N), train.value_NE, len(edges) + 1, prior)
    return one_hot(mean_BE.argmax(axis=1)[np.searchsorted(edges, lengths(test))], len(test.experts))


def _task_table(train: Table, test: Table, prior: float = 5.0) -> Floats | None:
    """The best expert per true task name: a label that live traffic does not carry."""
    if train.tasks is None or test.tasks is None:
        return None
    known = {task: i for i, task in enumerate(dict.fromkeys(train.tasks))}
    code_N = np.array([known[task] for task in train.tasks])
    mean_TE = _bin_means(code_N, train.value_NE, len(known) + 1, prior)  # the last row serves tasks never seen
    return one_hot(mean_TE.argmax(axis=1)[[known.get(task, len(known)) for task in test.tasks]], len(test.experts))


def _bin_means(bin_N: NDArray[np.intp], value_NE: Floats, bins: int, prior: float) -> Floats:
    sums_BE = np.zeros((bins, value_NE.shape[1]))
    np.add.at(sums_BE, bin_N, value_NE)
    count_B1 = np.bincount(bin_N, minlength=bins)[:, None]
    return np.asarray((sums_BE + prior * value_NE.mean(axis=0)) / (count_B1 + prior))


def _oracle(train: Table, test: Table) -> Floats:  # noqa: ARG001 - every baseline takes both sides
    """The cheapest among the best observed experts of each query: what no router can beat on this log."""
    score_NE = np.where(np.isfinite(test.score_NE), test.score_NE, -np.inf)
    cost_NE = np.zeros(score_NE.shape) if test.cost_NE is None else np.nan_to_num(test.cost_NE, nan=np.inf)
    return one_hot(np.lexsort((cost_NE, -score_NE), axis=1)[:, 0], len(test.experts))


BASELINES: tuple[Baseline, ...] = (
    Baseline("random", "every expert equally often (the expectation, not a draw)", _random),
    Baseline("cheapest", "the least mean cost on the training side", _cheapest),
    Baseline("dearest", "the largest mean cost on the training side", _dearest),
    Baseline("best single", "the best mean score on the training side", _best_single),
    Baseline("prompt length", "the best expert per decile of prompt length", _prompt_length),
    Baseline("task table", "the best expert per true task name, which live traffic does not carry", _task_table),
    Baseline("oracle", "the cheapest among each query's best experts: looks at the test scores", _oracle),
)
