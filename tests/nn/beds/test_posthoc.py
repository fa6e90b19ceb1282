"""The global view of a query."""

from __future__ import annotations

from turnout.nn.beds import ciphers
from turnout.nn.beds.posthoc import HALF, GlobalView


def test_the_global_view_knows_the_task_of_half_a_window() -> None:
    tasks, view = ciphers.seen(), GlobalView(None)
    ids_BS, task_B = tasks.validation(8)
    best_B = view(ids_BS[:, :HALF]).argmax(-1)
    assert float((best_B == task_B).float().mean()) > 0.6
    assert 0 < view.confident < 1
