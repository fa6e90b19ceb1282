"""Replay of logged answers: who is called, what it costs, and that cuts come from other queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from turnout import registry
from turnout.errors import LogError
from turnout.evaluation import datasets
from turnout.outcomes import OutcomeLog
from turnout.systems import _modes
from turnout.systems._modes import one, picked, read, voted
from turnout.systems.base import Run


@pytest.fixture(scope="module")
def answers() -> _modes.Answers:
    rows = {"x": ("7", "7", "8"), "y": ("", "2", "3"), "z": ("1", "2", "2")}
    score_NE = [[1, 1, 0], [0, 0, 1], [0, 1, 1]]
    responses = np.array([[f"Answer: {a}" if a else "" for a in row] for row in rows.values()], dtype=object)
    tokens = np.array([[1.0, 10.0, 100.0]] * 3)
    log = OutcomeLog.from_arrays(
        list(rows), ["a", "b", "c"], score_NE, columns_NE={"response": responses, "completion_tokens": tokens}
    )
    return read(log, ("a", "b", "c"))


def test_one_and_votes_and_picks(answers: _modes.Answers) -> None:
    assert answers.answer_NE == [["7", "7", "8"], ["", "2", "3"], ["1", "2", "2"]]
    alone = one(answers, "a", beside=("b",))
    assert alone.score_N.tolist() == [1, 0, 0]
    assert alone.called_NE.tolist() == [[True, True, False]] * 3
    assert voted(answers, ("a", "b", "c")).score_N.tolist() == [1, 0, 1]
    assert voted(answers, ("c", "b", "a")).score_N.tolist() == [1, 1, 1], "a tie goes to who stands first"
    by_query = voted(answers, [("a",), ("b", "c"), ("c",)], beside=())
    assert by_query.score_N.tolist() == [1, 0, 1]
    assert by_query.called_NE.sum(axis=1).tolist() == [1, 2, 1]
    assert picked(answers, ["c", "c", "a"]).score_N.tolist() == [0, 1, 0]


def test_a_log_without_responses_is_refused() -> None:
    with pytest.raises(LogError, match="no responses"):
        read(OutcomeLog.from_arrays(["x"], ["a"], [[1.0]]), ("a",))


@pytest.mark.parametrize("name", ["acar", "concise", "pcc"])
def test_a_replay_on_the_shared_log(name: str, shared_data: Path) -> None:
    system = registry.get("system", name)
    found = system.run(Run(shared_data, system.table, (0,)))
    rows = {str(row["name"]): row for row in found.rows}
    assert rows[system.title]["accuracy"] == pytest.approx(found.value.mean)
    best = rows["oracle of the modes"]["accuracy"]
    assert all(
        row["accuracy"] <= best + 1e-9 for row in found.rows if str(row["name"]).startswith(("always", system.title))
    )
    blind = rows["random, as often"]
    assert blind["calls"] == pytest.approx(rows[system.title]["calls"])
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(found.value.mean - float(blind["accuracy"]))  # type: ignore[arg-type]


def test_equal_answers_mostly_have_equal_scores(shared_data: Path) -> None:
    """Else votes and agreement would be about the reader of answers, not about the answers."""
    arms = [f"{model}:direct" for model in (_modes.SMALL, _modes.MIDDLE, _modes.LARGE)]
    pool = read(datasets.load("local_pool", shared_data), arms)
    pairs = [
        pool.score_NE[n, i] == pool.score_NE[n, j]
        for n in range(len(pool)) for i in range(3) for j in range(i)
        if pool.answer_NE[n][i] == pool.answer_NE[n][j] != ""
    ]  # fmt: skip
    assert len(pairs) > 100
    assert np.mean(pairs) > 0.98
