"""What presets are measured with: frontiers, pairs, newcomers, collections, comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from turnout import registry
from turnout.errors import ConfigError, LogError
from turnout.systems._assignment import assign
from turnout.systems._compare import Arena
from turnout.systems._flags import billions, flags, penalty
from turnout.systems._frontier import thrifty
from turnout.systems._retrieval import Corpus, corpora, searched
from turnout.systems.base import Figures, Run
from turnout.systems.tryage import _held_out


def arena(rows: int = 400) -> Arena:
    """Two tasks, told apart by one feature; in each another of two experts is right."""
    task_N = np.arange(rows) % 2
    texts = [f"{'sum' if t else 'poem'} {n} {n * n}" for n, t in enumerate(task_N.tolist())]
    return Arena.of(texts, {"x": task_N[:, None] - 0.5}, np.eye(2)[task_N], [f"t{t}" for t in task_N])


def test_an_arena_routes_and_its_baselines_bracket_every_rule() -> None:
    made = arena()
    splits = made.splits((0, 1))
    routed_N = made.routed(registry.create("estimator", "ridge", on=("x",)), splits)
    baselines = made.baselines(splits)
    assert routed_N.mean() == 1.0
    assert made.gain(routed_N, baselines["best single"]).low > 0.3
    assert baselines["task table"].mean() == baselines["oracle"].mean() == 1.0
    assert baselines["random"].mean() == pytest.approx(0.5)
    assert {row["name"] for row in made.rows(baselines, "accuracy", "best single")} == set(baselines)


def test_leaving_a_task_out_tests_it_on_the_others_alone() -> None:
    made = arena()
    for train_I, test_I in made.without_each_task():
        assert {made.tasks[i] for i in train_I}.isdisjoint(made.tasks[i] for i in test_I)
    value_N = made.routed(registry.create("estimator", "constant"), made.without_each_task())
    assert value_N.mean() == 0.0  # the other task's best expert is the wrong one


def corpus() -> Corpus:
    topics = ["river bank water fish", "stock bank money loan", "violin string music bow", "python code loop bug"] * 5
    texts = [f"{topic} {n}" for n, topic in enumerate(topics)]
    queries = ["fish in the water", "music for a violin", "a bug in the code"]
    relevant = [frozenset(range(0, 20, 4)), frozenset(range(2, 20, 4)), frozenset(range(3, 20, 4))]
    return Corpus("made", "made", texts, queries, relevant)


def test_retrievers_find_what_shares_words_and_features_ignore_the_judgements() -> None:
    found = searched([corpus()])
    assert found.score_QE.shape == (3, 4)
    assert (found.score_QE[:, 0] > 0.95).all()
    blind = searched([Corpus("made", "made", corpus().documents, corpus().queries, [frozenset({0})] * 3)])
    assert np.array_equal(found.features["search"], blind.features["search"])
    assert np.isfinite(found.features["search"]).all()


def test_a_folder_without_collections_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="cranfield"):
        corpora(tmp_path)


def test_cranfield_and_dialogues_are_read_as_they_are_published(tmp_path: Path) -> None:
    home = tmp_path / "cranfield"
    home.mkdir()
    (home / "cran.all.1400").write_text(".I 1\n.T\nwing flow\n.A\nx\n.W\nlift\n.I 2\n.T\nheat\n.W\nslab\n")
    (home / "cran.qry").write_text(".I 007\n.W\nwhat is lift\n.I 009\n.W\nwhat is heat\n")
    (home / "cranqrel").write_text("1 1 2\n2 2 -1\n2 99 1\n")
    (tmp_path / "locomo").mkdir()
    (tmp_path / "locomo" / "locomo10.json").write_text(
        '[{"conversation": {"session_1_date_time": "x",'
        ' "session_1": [{"speaker": "A", "dia_id": "D1:1", "text": "hi"}]},'
        ' "qa": [{"question": "who?", "evidence": ["D1:1"]}, {"question": "unknown?", "evidence": []}]}]'
    )
    cranfield, dialogue = corpora(tmp_path)
    assert list(cranfield.documents) == ["wing flow lift", "heat slab"]
    assert list(cranfield.queries) == ["what is lift", "what is heat"]
    assert list(cranfield.relevant) == [frozenset({0}), frozenset({1})]
    assert (list(dialogue.documents), list(dialogue.queries)) == (["A: hi"], ["who?"])


def test_the_thrifty_rule_saves_what_the_training_side_does_not_need() -> None:
    from turnout.evaluation.protocol import Estimates
    from turnout.evaluation.tables import Table

    rng = np.random.default_rng(0)
    easy_N = rng.uniform(size=400) < 0.6
    score_NE = np.column_stack([easy_N, np.ones(400)]).astype(float)
    quality_NE = np.column_stack([np.where(easy_N, 0.99, 0.1), np.full(400, 0.98)])
    cost_NE = np.tile([0.1, 1.0], (400, 1))
    side = Table(("weak", "strong"), [str(n) for n in range(400)], np.arange(400), score_NE, cost_NE)
    said = Estimates(quality_NE, quality_NE, np.ones(400, dtype=int), cost_NE, cost_NE)
    chosen_N = thrifty().choose(said, side, side)
    assert np.array_equal(chosen_N == 0, easy_N)


@pytest.mark.parametrize("name", ["hybrid_llm"])
def test_pairs_are_measured_on_the_published_table(name: str, shared_data: Path) -> None:
    system: Any = registry.get("system", name)
    found = system.run(Run(shared_data, "routellm_gsm8k", (0,)))
    assert isinstance(found, Figures)
    assert found.metric == "APGR"
    assert {"prompt length", "random", name} == {str(row["name"]) for row in found.rows}


def test_the_integer_programme_keeps_its_budget_and_beats_every_other_map() -> None:
    from itertools import product

    rng = np.random.default_rng(0)
    value_KE, spend_KE, weight_K = rng.uniform(size=(4, 3)), rng.uniform(size=(4, 3)), np.full(4, 0.25)
    chosen_K = assign(value_KE, spend_KE, weight_K, 0.4)
    worth, rows = {}, np.arange(4)
    for other in product(range(3), repeat=4):
        if weight_K @ spend_KE[rows, other] <= 0.4:
            worth[other] = weight_K @ value_KE[rows, other]
    assert weight_K @ spend_KE[rows, chosen_K] <= 0.4
    assert worth[tuple(chosen_K.tolist())] == pytest.approx(max(worth.values()))
    with pytest.raises(ConfigError, match="at least"):
        assign(value_KE, spend_KE, weight_K, 0.01)


def test_flags_add_up_and_sizes_are_read_from_names() -> None:
    text, wanted = flags("[flag: Cheapest] [Flag: smallest model] go")
    assert (text, wanted) == ("go", {"price": 1.0, "size": 1.0})
    lost_E = penalty(wanted, ["a-7b", "b-70b-v1", "nameless"], np.array([1.0, 3.0, 2.0]))
    assert lost_E.tolist() == [0.0, 2.0, 1.5]
    assert np.isnan(billions("gpt-4"))


def test_the_walks_held_out_estimates_see_no_duplicate_of_what_they_are_asked() -> None:
    """Every query stands there twice with scores by chance: a neighbour on the other side would know them."""
    rng = np.random.default_rng(0)
    x_ND, score_NE = rng.normal(size=(100, 8)).astype(np.float32), rng.integers(0, 2, (100, 3)).astype(float)
    twice = np.repeat(np.arange(100), 2)
    made = Arena({"embedding": x_ND[twice]}, score_NE[twice], [""] * 200, twice)
    nearest = registry.create("estimator", "knn", k=1, prior=0.0)
    held = _held_out(nearest, made, np.ones((200, 3)), np.arange(200))
    assert (held.quality_NE.round() == score_NE[twice]).mean() < 0.6
