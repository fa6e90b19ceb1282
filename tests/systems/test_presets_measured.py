"""Presets with a measurement of their own, run on small made tables whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from turnout import registry
from turnout.errors import ConfigError, LogError, TurnoutError
from turnout.outcomes import OutcomeLog
from turnout.systems.base import Figures, Run

EXPERTS = ("sums-7b", "poems-8b", "rivers-9b", "large-70b", "weak-1b", "slow-30b")
TOPICS = ("add the numbers", "write a poem on", "name the river near")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nine_llm: each topic has a small expert that is always right, the large one is right two times of three."""
    home = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    topic_N = np.arange(240) % 3
    prompts = [f"{TOPICS[t]} {rng.integers(1e9)} {rng.integers(1e9)}" for t in topic_N]
    score_NE = np.zeros((240, len(EXPERTS)))
    score_NE[np.arange(240), topic_N] = 1.0
    score_NE[:, 3], score_NE[:, 5] = rng.uniform(size=240) < 0.67, rng.uniform(size=240) < 0.5
    log = OutcomeLog.from_arrays(prompts, EXPERTS, score_NE, tasks=[TOPICS[t] for t in topic_N])
    log.write(home / "nine_llm")
    prices = {name: {"input_price": float(name.split("-")[1][:-1])} for name in EXPERTS}
    (home / "nine_llm" / "prices.json").write_text(json.dumps(prices))
    _clinc(home / "clinc150", rng)
    _answers(home / "routellm", rng)
    return home


def _clinc(folder: Path, rng: np.random.Generator) -> None:
    """Three domains of two intents, each with its own words."""
    folder.mkdir()
    words = [["balance", "transfer"], ["flight", "hotel"], ["recipe", "oven"]]
    rows = [
        {"split": "train", "text": f"my {word} please {rng.integers(1e6)}", "intent": word, "domain": f"domain {d}"}
        for d, pair in enumerate(words)
        for word in pair
        for _ in range(80)
    ]
    pl.DataFrame(rows).write_parquet(folder / "utterances.parquet")


def _answers(folder: Path, rng: np.random.Generator) -> None:
    """GSM8K answers of two models: long ones to long questions."""
    long_N = rng.uniform(size=200) < 0.5
    prompts = [
        f"{'tell every step of' if long else 'add'} {n} and {rng.integers(1e6)}" for n, long in enumerate(long_N)
    ]
    rows = [
        {
            "query_id": str(n),
            "task": "gsm8k",
            "prompt": prompt,
            "expert": expert,
            "score": 1.0,
            "response": "so " * size,
        }
        for n, (prompt, long) in enumerate(zip(prompts, long_N, strict=True))
        for expert in ("weak", "strong")
        for size in [int((90 if long else 20) + rng.integers(5))]
    ]
    folder.mkdir()
    pl.DataFrame(rows).write_parquet(folder / "outcomes.parquet")


def run(name: str, data: Path, table: str | None = None) -> Figures:
    system: Any = registry.get("system", name)
    found = system.run(Run(data, table or system.table, (0,)))
    assert isinstance(found, Figures)
    return found


def row(found: Figures, name: str) -> dict[str, Any]:
    return next(dict(one) for one in found.rows if one["name"] == name)


def test_a_map_of_categories_finds_each_topics_expert_for_less(tables: Path) -> None:
    found = run("composition_of_experts", tables)
    assert found.value.mean > 0.97
    assert found.gain is not None
    assert found.gain.low > 0.2
    cheap = row(found, "composition_of_experts at 33%")
    assert cheap["accuracy"] > 0.95
    assert cheap["US$ per 1,000"] < row(found, "regression per expert at 100%")["US$ per 1,000"] * 1.01


@pytest.mark.parametrize("name", ["carrot", "tryage", "avengers_pro"])
def test_trading_keeps_the_best_singles_quality_for_less(name: str, tables: Path) -> None:
    found = run(name, tables)
    assert found.gain is not None
    assert found.gain.mean >= 0
    spent = int(found.metric.partition(" at ")[2].partition("%")[0])
    assert spent < 50


def test_flags_move_requests_to_smaller_and_cheaper_experts(tables: Path) -> None:
    found = run("tryage", tables)
    plain, small = row(found, "no flag"), row(found, "[Flag: smallest model]")
    assert small["billions of parameters"] < plain["billions of parameters"]
    assert row(found, "[Flag: cheapest]")["US$ per 1,000"] < plain["US$ per 1,000"]


@pytest.mark.parametrize("name", ["graph_router", "probe_cards", "uniroute"])
def test_a_newcomer_is_used_where_it_is_good(name: str, tables: Path) -> None:
    found = run(name, tables)
    assert found.gain is not None
    assert found.gain.low > 0
    assert row(found, "fitted again with all outcomes")["accuracy"] >= found.value.mean - 0.05


def test_soft_labels_stand_beside_hard_ones(tables: Path) -> None:
    found = run("agent_router", tables)
    assert {"agent_router", "hard labels", "best single"} <= {str(one["name"]) for one in found.rows}
    assert found.value.mean > 0.9


def test_domains_that_arrive_one_by_one_are_not_forgotten(tables: Path) -> None:
    found = run("dynamic_expert_routing", tables)
    assert found.value.mean > 0.9
    assert row(found, "one model, trained on the last domain")["intent accuracy"] < 0.5


def test_lengths_are_predicted_and_inflated_bills_seen(tables: Path) -> None:
    found = run("palace", tables)
    assert found.value.mean > 0.95
    assert found.gain is not None
    assert found.gain.low > 0.2
    assert row(found, "predicted length")["30 % inflation seen in 10 calls"] > 0.95


@pytest.mark.parametrize(
    "name", ["composition_of_experts", "tryage", "graph_router", "dynamic_expert_routing", "palace"]
)
def test_a_missing_table_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    with pytest.raises((TurnoutError, OSError)):
        run(name, tmp_path)
    with pytest.raises(ConfigError):
        run(name, tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["composition_of_experts", "tryage", "carrot"])
def test_a_trade_without_costs_is_refused(name: str, tmp_path: Path) -> None:
    prompts = [f"{TOPICS[n % 3]} {n * n}" for n in range(60)]
    log = OutcomeLog.from_arrays(prompts, ("a", "b"), np.eye(2)[np.arange(60) % 2], tasks=["t"] * 60)
    log.write(tmp_path / "seven_llm")
    with pytest.raises(LogError, match="cost"):
        run(name, tmp_path, "seven_llm")


def test_newcomers_need_a_full_table_of_several_experts(tmp_path: Path) -> None:
    prompts = [f"{TOPICS[n % 3]} {n * n}" for n in range(60)]
    score_NE = np.eye(2)[np.arange(60) % 2]
    OutcomeLog.from_arrays(prompts, ("a", "b"), score_NE).write(tmp_path / "seven_llm")
    with pytest.raises(LogError, match="more than 4 experts"):
        run("probe_cards", tmp_path, "seven_llm")
    score_NE[0, 0] = np.nan
    OutcomeLog.from_arrays(prompts, ("a", "b"), score_NE).write(tmp_path / "alpacaeval")
    with pytest.raises(LogError, match="every expert on every query"):
        run("probe_cards", tmp_path, "alpacaeval")
