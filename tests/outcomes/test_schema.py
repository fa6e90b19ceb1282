from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from turnout.errors import LogError
from turnout.outcomes import OutcomeLog


def outcomes(**columns: Any) -> pl.DataFrame:
    """Two good rows, with some columns replaced or added."""
    return pl.DataFrame({"query_id": ["q", "r"], "expert": ["a", "a"], "score": [0.0, 1.0], **columns})


NAMED = r"row 2 \(query_id 'r', expert 'a'\): column "


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"score": [0.0, 1.5]}, NAMED + r"'score' must be a number in \[0, 1\], got 1.5"),
        ({"score": [0.0, -0.1]}, NAMED + "'score' .* got -0.1"),
        ({"score": [0.0, float("nan")]}, NAMED + "'score' .* got nan"),
        ({"score": [0.0, float("inf")]}, NAMED + "'score' .* got inf"),
        ({"score": [0.0, None]}, NAMED + "'score' .* got nothing"),
        ({"score": ["good", "bad"]}, "row 1 .*column 'score' must be a number .* got 'good' of type String"),
        ({"score": [[1.0], [0.0]]}, "column 'score' must be a number .* got .1.0. of type List"),
        (
            {"cost": [0.0, -1e-9]},
            NAMED + r"'cost' must be a number in \[0, inf\) \(US dollars per request\), got -1e-09",
        ),
        ({"cost": [0.0, float("inf")]}, NAMED + "'cost' .* got inf"),
        ({"latency": [0.0, -1.0]}, NAMED + r"'latency' .*\(seconds\), got -1.0"),
        ({"energy": [0.0, -1.0]}, NAMED + r"'energy' .*\(joules\), got -1.0"),
        ({"propensity": [1.0, 0.0]}, NAMED + r"'propensity' must be a number in \(0, 1\], got 0.0"),
        ({"propensity": [1.0, 1.01]}, NAMED + "'propensity' .* got 1.01"),
        ({"prompt_tokens": [1, -1]}, NAMED + r"'prompt_tokens' must be a whole number in \[0, 1e\+15\], got -1"),
        ({"prompt_tokens": [1, 2**63]}, NAMED + "'prompt_tokens' must be a whole number .* got 9223372036854775808"),
        ({"completion_tokens": [1.0, 1e30]}, NAMED + r"'completion_tokens' must be a whole number .* got 1e\+30"),
        ({"completion_tokens": [1.0, 1.5]}, NAMED + "'completion_tokens' must be a whole number .* got 1.5"),
        ({"query_id": ["q", None]}, "row 2 .*column 'query_id' is empty"),
        ({"query_id": [1.5, 2.5]}, "column 'query_id' must hold text, got 1.5 of type Float64"),
        ({"expert": ["a", ""]}, "row 2 .*column 'expert' is empty"),
        ({"query_id": ["q", "q"]}, r"row 2 \(query_id 'q', expert 'a'\): a second outcome"),
    ],
)
def test_a_broken_outcome_is_named(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(LogError, match=said):
        OutcomeLog(None, outcomes(**columns))


@pytest.mark.parametrize(
    ("missing", "instead", "said"),
    [
        ("expert", "model", "column 'expert' is missing; is it 'model'\\? rename that column to 'expert'"),
        ("expert", "LLM", "is it 'LLM'"),
        ("expert", "experts", "did you mean 'experts'"),
        ("score", "accuracy", "is it 'accuracy'"),
        ("score", "Score", "is it 'Score'"),
        ("query_id", "question_id", "is it 'question_id'"),
        ("query_id", "zzz", "column 'query_id' is missing; columns: zzz, expert, score"),
    ],
)
def test_a_missing_column_is_named_with_the_nearest(missing: str, instead: str, said: str) -> None:
    with pytest.raises(LogError, match=said):
        OutcomeLog(None, outcomes().rename({missing: instead}))


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        ({"query_id": ["q"]}, r"outcomes: row 2 \(query_id 'r', expert 'a'\): this query_id is not among the queries"),
        ({"query_id": ["q", "r", "q"]}, r"queries: row 3 \(query_id 'q'\): column 'query_id' repeats"),
        ({"id": ["q", "r"]}, "queries: column 'query_id' is missing; is it 'id'"),
        ({"query_id": ["q", "r"], "prompt": [1.5, 2.5]}, "queries: column 'prompt' must hold text"),
        ({"query_id": ["q", "r"], "signal.x": [[1.0], [1.0, 2.0]]}, r"row 2 .*'signal.x' has 2 values, .* have 1"),
        ({"query_id": ["q", "r"], "signal.x": [[1.0], [float("nan")]]}, "row 2 .*'signal.x' has a missing or infinite"),
        (
            {"query_id": ["q", "r"], "signal.x": [[1.0, 2.0], [None, 1.0]]},
            "row 2 .*'signal.x' has a missing or infinite",
        ),
        ({"query_id": ["q", "r"], "signal.x": ["a", "b"]}, "'signal.x' must hold lists of numbers, got String"),
        (
            {"query_id": ["q", "r"], "signal.x": [["a"], ["b"]]},
            r"'signal.x' must hold lists of numbers, got List\(String\)",
        ),
    ],
)
def test_a_broken_query_is_named(queries: dict[str, Any], said: str) -> None:
    with pytest.raises(LogError, match=said):
        OutcomeLog(pl.DataFrame(queries), outcomes())


def test_rows_of_one_query_must_agree() -> None:
    with pytest.raises(LogError, match=r"row 2 \(query_id 'q', expert 'b'\): column 'prompt' differs"):
        OutcomeLog(None, outcomes(query_id=["q", "q"], expert=["a", "b"], prompt=["one", "two"]))
    with pytest.raises(LogError, match=r"outcomes: row 2 .*column 'task' differs"):
        OutcomeLog(pl.DataFrame({"query_id": ["q", "r"], "task": ["t", "t"]}), outcomes(task=["t", "u"]))


def test_a_signal_of_one_number_stands_in_a_long_table_too() -> None:
    long = outcomes(**{"query_id": ["q", "q"], "expert": ["a", "b"], "signal.length": [3, 3]})
    assert OutcomeLog(None, long).signals()["length"].tolist() == [[3.0]]
    with pytest.raises(LogError, match=r"row 2 .*column 'signal\.length' differs"):
        OutcomeLog(None, long.with_columns(pl.Series("signal.length", [3, 4])))


def test_harmless_types_are_taken() -> None:
    queries = pl.DataFrame(
        {"query_id": [1, 2], "task": pl.Series(["t", "t"], dtype=pl.Categorical), "signal.x": [1, None]}
    )
    log = OutcomeLog(
        queries,
        pl.DataFrame(
            {
                "query_id": ["1", "2"],
                "expert": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])),
                "score": [True, False],
                "cost": [float("nan"), 1],
                "prompt_tokens": [3.0, None],
                "latency": pl.Series([None, None]),
            }
        ),
    )
    assert log.query_ids == ["1", "2"]
    assert log.outcomes["score"].to_list() == [1.0, 0.0]
    assert log.outcomes["cost"].to_list() == [None, 1.0]
    assert log.outcomes["prompt_tokens"].to_list() == [3, None]
    assert not log.has("latency")
    assert log.signals()["x"].shape == (2, 1)


def test_query_columns_of_a_long_table_move() -> None:
    long = outcomes(**{"prompt": ["one", "two"], "query.target": ["x", "y"], "mood": ["good", "bad"]})
    log = OutcomeLog(None, long)
    assert log.queries.columns == ["query_id", "prompt", "target"]
    assert log.outcomes.columns == ["query_id", "expert", "score", "mood"]
    beside = OutcomeLog(pl.DataFrame({"query_id": ["q", "r", "s"], "task": ["t", "t", "u"]}), long)
    assert beside.texts == ["one", "two", ""]
    assert beside.tasks == ["t", "t", "u"]
