"""The global view of a query."""

from __future__ import annotations

from turnout.nn.beds import ciphers
from turnout.nn.beds.posthoc import global_view, halves


def test_the_global_view_knows_the_task_of_half_a_window() -> None:
    tasks, view = ciphers.seen(), global_view(None)
    ids_BS, task_B = tasks.validation(8)
    best_B = view(halves(ids_BS)).argmax(-1)
    assert float((best_B == task_B).float().mean()) > 0.6
    assert 0 < view.confident < 1
