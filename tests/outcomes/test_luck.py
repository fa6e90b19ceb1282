"""The bracket around a perfect router, on simulated repeats where the truth is known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from turnout.errors import LogError
from turnout.outcomes import OutcomeLog, describe, luck


def log_of(runs_NER: np.ndarray) -> OutcomeLog:  # type: ignore[type-arg]
    """NaN runs are runs that did not take place."""
    rows = []
    for n, e in np.ndindex(runs_NER.shape[:2]):
        runs = runs_NER[n, e][np.isfinite(runs_NER[n, e])]
        if len(runs):
            rows.append((f"q{n}", f"e{e}", float(runs.mean()), runs.tolist()))
    return OutcomeLog(None, pl.DataFrame(rows, ["query_id", "expert", "score", "repeats"], orient="row"))


def simulate(mean_NE: np.ndarray, runs: int, seed: int) -> OutcomeLog:  # type: ignore[type-arg]
    draws = np.random.default_rng(seed).random((*mean_NE.shape, runs))
    return log_of((draws < mean_NE[:, :, None]).astype(float))


@pytest.mark.parametrize("runs", [2, 3, 8])
def test_the_true_oracle_lies_between_held_out_and_averaged(runs: int) -> None:
    mean_NE = np.random.default_rng(5).beta(0.6, 0.6, (1500, 4))
    found = [luck(simulate(mean_NE, runs, seed)) for seed in range(4)]
    truth = mean_NE.max(axis=1).mean()
    average = {name: np.mean([each[name] for each in found if each]) for name in ("held_out_oracle", "averaged_oracle")}
    assert average["held_out_oracle"] < truth < average["averaged_oracle"]
    for each in found:
        assert each is not None
        assert each["averaged_oracle"] < each["single_run_oracle"]
        true_share = (each["single_run_oracle"] - truth) / each["gap"]
        assert each["luck_share_low"] < true_share < each["luck_share_high"]


def test_what_is_known_of_the_task_tightens_the_bracket() -> None:
    mean_NE = np.array([[0.9, 0.8, 0.3], [0.2, 0.7, 0.5], [0.4, 0.4, 0.6]])[np.arange(1200) % 3]
    log = simulate(mean_NE, 2, 0)
    queries = log.queries.with_columns(task=pl.Series([str(n % 3) for n in range(1200)]))
    blind, told = luck(log), luck(OutcomeLog(queries, log.outcomes))
    assert blind is not None
    assert told is not None
    truth = mean_NE.max(axis=1).mean() - mean_NE.mean(axis=0).max()
    assert blind["confirmed_gain"]["mean"] < 0.06
    assert told["confirmed_gain"]["low"] < truth < told["confirmed_gain"]["high"]
    assert told["luck_share_low"] < (told["gap"] - truth) / told["gap"] < told["luck_share_high"]


def test_more_runs_close_the_bracket() -> None:
    mean_NE = np.random.default_rng(1).beta(0.5, 0.5, (800, 3))
    few, many = luck(simulate(mean_NE, 2, 0)), luck(simulate(mean_NE, 24, 0))
    assert few is not None
    assert many is not None
    assert many["averaged_oracle"] - many["held_out_oracle"] < 0.4 * (few["averaged_oracle"] - few["held_out_oracle"])


def test_pure_chance_is_all_luck() -> None:
    found = luck(simulate(np.full((3000, 3), 0.5), 6, 3))
    assert found is not None
    assert found["gap"] > 0.3
    assert found["luck_share_high"] > 0.95
    assert found["confirmed_gain"]["low"] < 0 < found["confirmed_gain"]["high"] + 0.02


def test_experts_that_never_waver_have_no_luck() -> None:
    mean_NE = (np.random.default_rng(2).random((200, 3)) < 0.5).astype(float)
    found = luck(simulate(mean_NE, 3, 0))
    assert found is not None
    assert (found["luck_share_low"], found["luck_share_high"]) == (0.0, 0.0)
    assert found["held_out_oracle"] == pytest.approx(mean_NE.max(axis=1).mean())
    assert found["confirmed_gain"]["low"] > 0


def test_queries_with_fewer_runs_count_with_what_they_have() -> None:
    runs_NER = np.full((4, 2, 3), 1.0)
    runs_NER[0, 0, 2] = np.nan  # two and three runs: two are used
    runs_NER[1, 1, 1:] = np.nan  # one run of the second expert: not used
    found = luck(log_of(runs_NER))
    assert found is not None
    assert found["queries"] == 3
    assert found["runs"] == pytest.approx(8 / 3)
    assert found["luck_share_low"] is None  # no gap at all


def test_without_repeats_nothing_can_be_told() -> None:
    assert luck(OutcomeLog.from_arrays(None, ["a", "b"], np.eye(2))) is None
    assert luck(log_of(np.ones((3, 1, 4)))) is None
    assert luck(log_of(np.ones((3, 2, 1)))) is None


def test_repeats_survive_files_and_selections(tmp_path) -> None:  # type: ignore[no-untyped-def]
    log = simulate(np.full((30, 2), 0.5), 4, 0)
    for name in ("a.csv", "b.jsonl", "c.parquet", "d"):
        log.write(tmp_path / name)
        assert describe(OutcomeLog.read(tmp_path / name))["luck"] == luck(log)
    part = luck(log.select(np.arange(10)))
    assert part is not None
    assert part["queries"] == 10


@pytest.mark.parametrize(
    ("repeats", "message"),
    [
        ([0.0, 2.0], r"row 1 .*'repeats' must hold scores in \[0, 1\]"),
        ([0.0, float("nan")], r"must hold scores in \[0, 1\]"),
        ([0.0, None], r"must hold scores in \[0, 1\]"),
        ([1.0, 1.0], "whose mean is the row's score"),
    ],
)
def test_bad_repeats_are_named(repeats: list[float], message: str) -> None:
    rows = [("q", "a", 0.5, repeats), ("q", "b", 0.5, None)]
    with pytest.raises(LogError, match=message):
        OutcomeLog(None, pl.DataFrame(rows, ["query_id", "expert", "score", "repeats"], orient="row"))


def test_repeats_of_another_type_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LogError, match="must hold lists of scores"):
        OutcomeLog(None, pl.DataFrame({"query_id": ["q"], "expert": ["a"], "score": [0.5], "repeats": ["0.5"]}))
    (tmp_path / "log.csv").write_text('query_id,expert,score,repeats\nq,a,0.5,"[0.0, 1.0"\n')
    with pytest.raises(LogError, match="must hold JSON lists"):
        OutcomeLog.read(tmp_path / "log.csv")
