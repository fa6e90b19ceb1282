from __future__ import annotations

import json

import numpy as np
import pytest

from turnout.outcomes import OutcomeLog, describe, leaks

NAN = float("nan")


def test_leaks_are_counted_by_kind() -> None:
    train = OutcomeLog.from_arrays(
        ["Name the capital of Peru.", "How many legs has a spider?", ""],
        ["a"],
        np.ones((3, 1)),
        query_ids=["x", "y", "z"],
    )
    test = OutcomeLog.from_arrays(
        ["name the  capital of peru.", "How many legs has a spider??", "Something else entirely.", ""],
        ["a"],
        np.ones((4, 1)),
        query_ids=["x", "p", "q", "r"],
    )
    found = leaks(train, test)
    assert found
    assert (found.queries, found.exact, found.near, found.same_ids) == (4, 1, 1, 1)
    assert found.rows == (0, 1)
    assert [(e["test"], e["train"]) for e in found.examples] == [("x", "x"), ("p", "y")]
    assert found.examples[0]["jaccard"] == 1.0
    assert 0.9 <= found.examples[1]["jaccard"] < 1.0


def test_halves_of_a_split_do_not_leak() -> None:
    texts = [f"{'What is the sum of' if n % 2 else 'Tell me about'} {n // 3} and {n // 3 * 17}?" for n in range(60)]
    first, rest = OutcomeLog.from_arrays(texts, ["a"], np.ones((60, 1))).split(0.5, seed=1)
    assert not leaks(first, rest)
    assert leaks(first, first).exact == len(first)


def test_logs_without_text_share_ids_only() -> None:
    train = OutcomeLog.from_arrays(None, ["a"], np.ones((3, 1)))
    found = leaks(train, OutcomeLog.from_arrays(None, ["a"], np.ones((2, 1))))
    assert (found.exact, found.near, found.same_ids) == (0, 0, 2)
    assert found


def test_describe() -> None:
    log = OutcomeLog.from_arrays(
        ["One question here", "one  question here", "quite another", None],
        ["a", "b"],
        [[1.0, 0.0], [0.5, 1.0], [0.0, NAN], [NAN, NAN]],
        cost_NE=[[0.1, 0.2], [0.3, NAN], [0.2, 0.2], [NAN, NAN]],
        tasks=["t", "t", "u", None],
    )
    described = describe(log)
    assert json.loads(json.dumps(described)) == described
    assert (described["queries"], described["experts"], described["outcomes"]) == (4, 2, 5)
    assert described["tasks"] == 2
    assert described["missing_share"] == pytest.approx(3 / 8)
    assert described["queries_without_outcome"] == 1
    assert described["queries_without_prompt"] == 1
    assert described["duplicates"] == {
        "groups": 1, "across_tasks": 0, "queries": 2, "largest": 2, "largest_prompt": "one question here",
    }  # fmt: skip
    assert described["arms"][0] == {"expert": "a", "score": 0.5, "cost": pytest.approx(0.2), "coverage": 0.75}
    assert described["arms"][1] == {"expert": "b", "score": 0.5, "cost": pytest.approx(0.2), "coverage": 0.5}
    headroom = {"queries": 2, "best_single": "a", "best_single_score": 0.75, "oracle": 1.0, "gap": 0.25}
    assert described["headroom"] == headroom
    assert described["propensity"] is None
    assert described["luck"] is None
    assert described["stored_share"]["cost"] == pytest.approx(4 / 5)
    assert described["stored_share"]["response"] == 0


def test_duplicates_across_tasks_are_counted() -> None:
    texts = ["Name the capital of Peru.", "name the capital of Peru.", "Add 2 and 3.", "add 2 and 3."]
    log = OutcomeLog.from_arrays(texts, ["a"], np.ones((4, 1)), tasks=["train", "test", "test", "test"])
    assert describe(log)["duplicates"]["across_tasks"] == 1


def test_describe_a_bandit_log() -> None:
    scores_NE = np.where(np.arange(4)[:, None] % 2 == np.arange(2), 1.0, np.nan)
    propensity_NE = np.where(np.arange(2) == 0, 0.75, 0.25) * np.ones((4, 1))
    described = describe(OutcomeLog.from_arrays(None, ["a", "b"], scores_NE, propensity_NE=propensity_NE))
    assert described["headroom"] is None
    weights = np.array([1 / 0.75, 4, 1 / 0.75, 4])
    assert described["propensity"] == {
        "min": 0.25,
        "median": 0.5,
        "max": 0.75,
        "outcomes": 4,
        "effective_sample_size": pytest.approx(weights.sum() ** 2 / (weights**2).sum()),
    }


def test_a_known_leak_in_real_logs(shared_data) -> None:  # type: ignore[no-untyped-def]
    log = OutcomeLog.read(shared_data / "local_pool")
    gsm8k = np.array([task == "gsm8k" for task in log.tasks or []])
    found = leaks(OutcomeLog.read(shared_data / "routellm"), log.select(gsm8k))
    assert found.exact > 100
    assert found.exact == len(set(found.rows))
