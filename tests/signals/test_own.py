"""Lines that many texts share are left out before the inner signal reads."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout import registry
from turnout.errors import NotFittedError, ParameterError
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.signals.own import FEWEST, Own
from turnout.types import Request

INTRO = "You are a helpful assistant.\n  Answer with one letter.\n\nWhich is a bird?\nA) dog\nB) owl\nAnswer: B\n\n"
QUESTIONS = [
    f"Which number is {word}?\nA) {n}\nB) {n + 1}\nAnswer:" for n, word in enumerate(["one", "two", "ten", "six"])
]
TEXTS = [f"{INTRO}{question}" for question in QUESTIONS * 10]


def test_what_many_texts_share_is_left_out() -> None:
    signal = Own(common=0.5).fit(TEXTS[:4] + [f"{INTRO}{n}?" for n in range(20)])
    assert signal.own(TEXTS[1]) == "Which number is two?\nA) 1\nB) 2\nAnswer:"
    assert signal.own(f"{INTRO}42?\r\n  Answer with one letter. ") == "42?"


def test_a_line_counts_once_a_text_and_once_for_equal_texts() -> None:
    rare = ["same\n" * 100 + str(n) for n in range(FEWEST - 1)]
    assert Own(common=0.0).fit(rare * 3).own(rare[0]) == rare[0]
    assert Own(common=0.0).fit([*rare, "same\nmore"]).own(rare[1]) == "1"


def test_a_text_of_shared_lines_alone_stays_whole() -> None:
    signal = Own().fit([f"{INTRO}{n}" for n in range(50)])
    assert signal.own(INTRO) == INTRO
    assert signal.own("") == ""


@given(st.lists(st.text(alphabet="ab \n", max_size=6), max_size=12), st.text(max_size=12))
def test_nothing_is_added_and_what_is_left_is_of_few(texts: list[str], text: str) -> None:
    kept = Own(common=1.0).fit(texts).own(text)
    assert kept == text or set(kept.splitlines()) <= set(text.splitlines())


def test_the_inner_signal_reads_what_is_left() -> None:
    log = [f"{INTRO}{n} apples?" for n in range(40)]
    signal = Own(registry.create("signal", "tfidf", min_df=1)).fit(log)
    inner = registry.create("signal", "tfidf", min_df=1).fit([f"{n} apples?" for n in range(40)])
    assert np.array_equal(
        signal.transform(log[:3]).toarray(), inner.transform(["0 apples?", "1 apples?", "2 apples?"]).toarray()
    )


def test_a_router_that_reads_it_saves_and_decides_alike() -> None:
    rng, kinds = np.random.default_rng(0), ("name this animal", "sum these numbers")
    words = "river stone apple cloud lamp horse green seven paper winter copper music".split()  # noqa: SIM905
    texts = [f"{INTRO * 4}{kinds[n % 2]} {' '.join(rng.choice(words, 6))}" for n in range(80)]
    score_NE = np.stack([1 - np.arange(80) % 2, np.arange(80) % 2], axis=1) * 0.9 + 0.05 * rng.random((80, 2))
    log = OutcomeLog.from_arrays(texts, ("a", "b"), score_NE)
    router = Router.fit(log, estimator=registry.create("estimator", "ridge", on=("own",)), folds=2, novelty=0.0)
    asked = [f"{INTRO}name this animal please", "sum these numbers"]
    with tempfile.TemporaryDirectory() as folder:
        router.save(Path(folder) / "router")
        loaded = Router.load(Path(folder) / "router")
    found = [[made.expert for made in one.decide([Request(text) for text in asked])] for one in (router, loaded)]
    assert found == [["a", "b"], ["a", "b"]]


@pytest.mark.parametrize("wrong", [{"common": 1.5}, {"of": "embedding"}])
def test_bad_parameters_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        Own(**wrong).fit([])


def test_an_unfitted_one_says_so() -> None:
    with pytest.raises(NotFittedError, match="Own is not fitted"):
        Own().own("text")
