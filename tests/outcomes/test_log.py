from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.errors import LogError
from turnout.outcomes import OutcomeLog

NAN = float("nan")


def small() -> OutcomeLog:
    """Three queries, two experts, one outcome missing."""
    return OutcomeLog.from_arrays(
        ["first question", "second question", "third one"],
        ["a", "b"],
        [[1.0, 0.5], [NAN, 0.25], [0.0, 1.0]],
        cost_NE=[[0.1, 0.2], [NAN, 0.4], [0.5, 0.6]],
        tasks=["t", "t", "u"],
        signals={"embedding": np.arange(6.0).reshape(3, 2)},
    )


def test_what_a_log_knows() -> None:
    log = small()
    assert len(log) == 3
    assert log.experts == ("a", "b")
    assert log.query_ids == ["q0", "q1", "q2"]
    assert log.texts[0] == "first question"
    assert log.tasks == ["t", "t", "u"]
    assert log.has_text
    assert not log.is_full
    assert not log.is_bandit
    np.testing.assert_array_equal(log.matrix(), [[1.0, 0.5], [NAN, 0.25], [0.0, 1.0]])
    np.testing.assert_array_equal(log.matrix("cost"), [[0.1, 0.2], [NAN, 0.4], [0.5, 0.6]])
    np.testing.assert_array_equal(log.signals()["embedding"], np.arange(6.0).reshape(3, 2))
    assert log.has("cost")
    assert not log.has("latency")
    assert repr(log) == "OutcomeLog(3 queries, 2 experts, 5 outcomes)"


def test_unknown_columns_are_refused_with_the_nearest() -> None:
    log = small()
    with pytest.raises(LogError, match="column 'costs' is missing; did you mean 'cost'"):
        log.matrix("costs")
    with pytest.raises(LogError, match="holds String, not numbers"):
        log.matrix("expert")


def test_without_text() -> None:
    log = OutcomeLog.from_arrays(None, ["a"], [[1.0], [0.0]])
    assert log.texts == ["", ""]
    assert log.tasks is None
    assert not log.has_text
    with pytest.raises(LogError, match="column 'prompt' is missing or empty"):
        log.require_text()
    frame = pl.DataFrame({"query_id": ["q"], "question": ["What?"]})
    with pytest.raises(LogError, match="is it 'question'"):
        OutcomeLog(frame, pl.DataFrame({"query_id": ["q"], "expert": ["a"], "score": [1]})).require_text()


def test_experts_and_queries_come_in_first_seen_order() -> None:
    long = pl.DataFrame({"query_id": ["z", "a", "z"], "expert": ["y", "y", "x"], "score": [1, 0, 1]})
    log = OutcomeLog(None, long)
    assert log.query_ids == ["z", "a"]
    assert log.experts == ("y", "x")


def test_a_query_may_lack_outcomes() -> None:
    queries = pl.DataFrame({"query_id": ["p", "q"], "prompt": ["one", None]})
    log = OutcomeLog(queries, pl.DataFrame({"query_id": ["q"], "expert": ["a"], "score": [1.0]}))
    np.testing.assert_array_equal(log.matrix(), [[NAN], [1.0]])
    assert log.texts == ["one", ""]


def test_bandit_logs() -> None:
    scores_NE = np.where(np.eye(3, dtype=bool), 1.0, np.nan)
    assert OutcomeLog.from_arrays(None, ["a", "b", "c"], scores_NE, propensity_NE=np.full((3, 3), 1 / 3)).is_bandit
    assert not OutcomeLog.from_arrays(None, ["a", "b", "c"], scores_NE).is_bandit
    full = OutcomeLog.from_arrays(None, ["a", "b"], np.ones((3, 2)), propensity_NE=np.ones((3, 2)))
    assert not full.is_bandit


def test_select() -> None:
    log = small()
    chosen = log.select([2, 0])
    assert chosen.query_ids == ["q2", "q0"]
    np.testing.assert_array_equal(chosen.matrix(), [[0.0, 1.0], [1.0, 0.5]])
    np.testing.assert_array_equal(chosen.signals()["embedding"], [[4, 5], [0, 1]])
    assert log.select(np.array([False, True, False])).experts == ("a", "b")
    assert log.select([-1]).query_ids == ["q2"]
    assert len(log.select([])) == 0
    with pytest.raises(ValueError, match="once only"):
        log.select([0, 0])
    with pytest.raises(IndexError):
        log.select([3])


def test_a_selection_of_a_selection() -> None:
    log = small().select([2, 1]).select([1])
    assert log.query_ids == ["q1"]
    np.testing.assert_array_equal(log.matrix(), [[NAN, 0.25]])


def test_only() -> None:
    log = small()
    swapped = log.only(["b", "a"])
    np.testing.assert_array_equal(swapped.matrix(), log.matrix()[:, ::-1])
    one = log.only(["a"])
    assert one.query_ids == log.query_ids
    np.testing.assert_array_equal(one.matrix(), [[1.0], [NAN], [0.0]])
    for wrong in ([], ["c"], ["a", "a"]):
        with pytest.raises(LogError, match="it has: a, b"):
            log.only(wrong)


def test_groups_by_text_and_by_stored_signals() -> None:
    log = OutcomeLog.from_arrays(["Same  text here", "another one", "same text HERE"], ["a"], [[1], [0], [1]])
    assert log.groups().tolist() == [0, 1, 0]
    signal_ND = np.array([[1, 0], [0, 1], [1, 0], [np.nan, np.nan], [np.nan, np.nan]])
    queries = pl.DataFrame(
        {
            "query_id": [f"q{n}" for n in range(5)],
            "signal.embedding": [None if np.isnan(row).any() else row.tolist() for row in signal_ND],
        }
    )
    outcomes = pl.DataFrame({"query_id": queries["query_id"], "expert": "a", "score": 1.0})
    groups = OutcomeLog(queries, outcomes).groups().tolist()
    assert groups[0] == groups[2]
    assert len(set(groups)) == 4
    assert len(set(OutcomeLog.from_arrays(None, ["a"], np.ones((4, 1))).groups())) == 4


def test_a_subset_keeps_the_groups_of_its_log() -> None:
    words = [f"word{i}" for i in range(60)]
    chain = [" ".join(words[i : i + 50]) for i in range(11)]
    log = OutcomeLog.from_arrays(chain, ["a"], np.ones((11, 1)))
    assert set(log.select([0, 10]).groups()) == {0, 1}
    assert set(log.groups()) == {0}
    assert set(log.select([0, 10]).groups()) == {0}
    assert set(log.only(["a"]).groups()) == {0}


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.floats(0.1, 0.9), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_split_keeps_near_duplicates_together(kinds: list[int], fraction: float, seed: int) -> None:
    texts = [f"this is question number {kind} of {kind * 7919}" + " " * (n % 3) for n, kind in enumerate(kinds)]
    log = OutcomeLog.from_arrays(texts, ["a"], np.ones((len(kinds), 1)))
    if len(set(kinds)) == 1:
        with pytest.raises(LogError, match="cannot be split"):
            log.split(fraction, seed)
        return
    try:
        first, rest = log.split(fraction, seed)
    except LogError:
        assert max(kinds.count(kind) for kind in kinds) >= min(fraction, 1 - fraction) * len(kinds)
        return
    assert not set(map(str.strip, first.texts)) & set(map(str.strip, rest.texts))
    assert sorted(first.query_ids + rest.query_ids) == sorted(log.query_ids)
    assert abs(len(first) - fraction * len(log)) <= max(kinds.count(kind) for kind in kinds)


def test_split_refuses_a_fraction_out_of_range() -> None:
    with pytest.raises(ValueError, match="fraction must be in"):
        small().split(1.0, seed=0)


def test_folds_are_whole_groups() -> None:
    log = OutcomeLog.from_arrays(["same"] * 4 + ["other", "third"], ["a"], np.ones((6, 1)))
    folds = log.folds(3, seed=0)
    assert len(set(folds[:4])) == 1
    assert len(set(folds)) == 3


def test_the_fingerprint_tells_logs_apart() -> None:
    log = small()
    assert log.fingerprint() == small().fingerprint()
    assert log.fingerprint() == log.select([2, 0, 1]).only(["b", "a"]).fingerprint()
    assert log.fingerprint() != log.select([0, 1]).fingerprint()
    assert log.fingerprint() != log.only(["a"]).fingerprint()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scores_NE": [[1.0]]}, r"'score' must have shape \(N, E\) = \(1, 2\), got \(1, 1\)"),
        ({"scores_NE": [1.0, 0.0]}, "must have shape"),
        ({"scores_NE": [[1.0, 2.0]]}, r"row 2 \(query_id 'q0', expert 'b'\): column 'score' must be .*got 2.0"),
        ({"scores_NE": [[NAN, NAN]]}, "holds no outcomes"),
        ({"scores_NE": [[1.0, 0.0]], "cost_NE": [[1.0]]}, "'cost' must have shape"),
        ({"scores_NE": [[1.0, 0.0]], "tasks": ["a", "b"]}, "needs 1 values"),
        ({"scores_NE": [[1.0, 0.0]], "query_ids": [""]}, "column 'query_id' is empty"),
    ],
)
def test_from_arrays_refuses(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(LogError, match=said):
        OutcomeLog.from_arrays(["text"], ["a", "b"], **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["routellm", "nine_llm", "seven_llm", "alpacaeval", "local_pool"])
def test_real_logs_load(name: str, shared_data) -> None:  # type: ignore[no-untyped-def]
    log = OutcomeLog.read(shared_data / name)
    assert log.has_text
    assert log.is_full == (name not in {"alpacaeval", "local_pool"})
    assert np.isfinite(log.matrix()).sum() == log.outcomes.height


def test_a_judges_scores_stand_in_for_the_logs_or_beside_them() -> None:
    columns = {"judge_score": [[0.5, np.nan], [1.0, 0.0]]}
    log = OutcomeLog.from_arrays(["a", "b"], ["x", "y"], [[1, 0], [0, 1]], columns_NE=columns)
    np.testing.assert_array_equal(log.blended("judge_score").matrix(), columns["judge_score"])
    np.testing.assert_array_equal(log.blended("judge_score", 0.25).matrix(), [[0.875, np.nan], [0.25, 0.75]])
    assert log.matrix()[0, 0] == 1.0, "the log itself is as it was"
    assert log.blended("judge_score").select([1]).matrix().tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("column", "weight", "message"),
    [("judge_score", 2.0, r"must be in \[0, 1\], got 2"), ("judge", 0.5, "is missing"), ("big", 0.5, r"scores in")],
)
def test_a_blend_is_refused(column: str, weight: float, message: str) -> None:
    columns = {"judge_score": [[0.5]], "big": [[7.0]]}
    log = OutcomeLog.from_arrays(["a"], ["x"], [[1]], columns_NE=columns)
    with pytest.raises(LogError, match=message):
        log.blended(column, weight)
