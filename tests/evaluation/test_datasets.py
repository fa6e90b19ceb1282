"""Public tables as logs; they are read where the folder is present."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from turnout.errors import ConfigError, LogError, UnknownNameError
from turnout.evaluation import datasets
from turnout.outcomes import OutcomeLog

SHAPES = {
    "nine_llm": (4173, 9),
    "routellm_mmlu": (9793, 2),
    "routellm_gsm8k": (939, 2),
    "local_pool": (438, 6),
    "seven_llm": (15343, 7),
    "routerbench_subset": (2218, 11),
    "greenserv": (2500, 16),
    "alpacaeval": (475, 58),
}


def test_every_dataset_says_where_it_comes_from() -> None:
    assert [entry.name for entry in datasets.DATASETS] == list(SHAPES)
    assert all(entry.source and entry.licence and entry.cost for entry in datasets.DATASETS)


@pytest.mark.parametrize("name", SHAPES)
def test_the_table_is_read_whole(shared_data: Path, name: str) -> None:
    log = datasets.load(name, shared_data)
    assert (len(log), len(log.experts)) == SHAPES[name]
    assert log.has_text
    assert log.tasks is not None


def test_routerbench_prompts_are_read_as_turns(shared_data: Path) -> None:
    texts = datasets.load("routerbench_subset", shared_data).texts
    assert not any(text.startswith("['") for text in texts)
    assert sum(text.endswith("Answer:") for text in texts) > len(texts) // 2


def test_nine_llm_costs_are_input_price_times_prompt_tokens(shared_data: Path) -> None:
    log = datasets.load("nine_llm", shared_data)
    prices = json.loads((shared_data / "nine_llm" / "prices.json").read_text())
    tokens = datasets.prompt_tokens(log.texts[:5])
    expected = tokens[:, None] * [prices[name]["input_price"] for name in log.experts] / 1e6
    assert log.matrix("cost")[:5] == pytest.approx(expected)
    assert tokens.min() > 0


def test_greenserv_propensities_give_the_value_of_the_best_arm(shared_data: Path) -> None:
    """A uniform policy over 16 arms, drawn in five runs: an arm is seen with 1 − (15/16)⁵."""
    log = datasets.load("greenserv", shared_data)
    propensity = log.matrix("propensity")
    assert np.unique(propensity[np.isfinite(propensity)]).tolist() == pytest.approx([1 - (15 / 16) ** 5], abs=1e-6)
    assert np.isfinite(log.matrix()).mean() == pytest.approx(1 - (15 / 16) ** 5, abs=0.005)
    assert np.nanmean(log.matrix(), axis=0).max() == pytest.approx(0.742, abs=0.01)


def test_a_folder_must_be_named_and_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(datasets.VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="--data"):
        datasets.load("nine_llm")
    with pytest.raises(ConfigError, match="must exist"):
        datasets.load("nine_llm", tmp_path / "absent")
    with pytest.raises(LogError, match="no such table"):
        datasets.load("nine_llm", tmp_path)


def test_an_unknown_table_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'nine_llm'"):
        datasets.load("nine_lm", tmp_path)


def test_the_variable_names_the_folder_and_the_option_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for part in ("one", "two"):
        (tmp_path / part / "local_pool").mkdir(parents=True)
    OutcomeLog.from_arrays(["a"], ["x"], [[1.0]]).write(tmp_path / "one" / "local_pool")
    OutcomeLog.from_arrays(["a", "b"], ["x"], [[1.0], [0.0]]).write(tmp_path / "two" / "local_pool")
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path / "one"))
    assert len(datasets.load("local_pool")) == 1
    assert len(datasets.load("local_pool", tmp_path / "two")) == 2
    assert datasets.available() == ("local_pool",)


def test_a_log_of_ones_own_stands_for_the_local_pool(tmp_path: Path) -> None:
    OutcomeLog.from_arrays(["a", "b", "c"], ["x"], [[1.0], [0.0], [1.0]]).write(tmp_path)
    assert len(datasets.load("local_pool", tmp_path)) == 3
    with pytest.raises(LogError, match="no such table"):
        datasets.load("nine_llm", tmp_path)
