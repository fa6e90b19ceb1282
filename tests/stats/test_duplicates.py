from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.stats import duplicates, jaccard, near_duplicates, normalise


def brute_force(texts: list[str], threshold: float) -> list[int]:
    """Every pair compared, then closed transitively."""
    sets = [duplicates.grams(text) for text in texts]
    group = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            if sets[i] and len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold:
                old, new = group[i], group[j]
                group = [new if g == old else g for g in group]
    first: dict[int, int] = {}
    return [first.setdefault(g, len(first)) for g in group]


@st.composite
def families(draw: st.DrawFn) -> list[str]:
    """Texts and edited copies of them, over an alphabet small enough for grams to collide."""
    letters = draw(st.sampled_from(["ab", "abcdefgh \n", "aA bB", "日本語ab ", "İıß ẞa"]))
    bases = draw(st.lists(st.text(letters, max_size=120), min_size=1, max_size=4))
    texts = []
    for _ in range(draw(st.integers(1, 14))):
        text = list(draw(st.sampled_from(bases)))
        for place in draw(st.lists(st.integers(0, 119), max_size=4)):
            text[place % (len(text) + 1) : place % (len(text) + 1) + draw(st.integers(0, 1))] = draw(
                st.text(letters, max_size=1)
            )
        texts.append("".join(text))
    return texts


@given(families(), st.sampled_from([0.3, 0.5, 0.8, 0.9, 0.9, 0.95, 1.0]))
@settings(max_examples=150, deadline=None)
def test_it_equals_brute_force(texts: list[str], threshold: float) -> None:
    assert near_duplicates(texts, threshold).tolist() == brute_force(texts, threshold)


@pytest.mark.parametrize("block", [60, 5000])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), 5)) for _ in range(40)]
    texts = []
    for _ in range(120):
        text = (
            list(rng.choice(words, 30)) if not texts or rng.random() < 0.3 else texts[rng.integers(len(texts))].split()
        )
        text[rng.integers(len(text))] = rng.choice(words)
        texts.append(" ".join(text))
    whole = near_duplicates(texts).tolist()
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    assert near_duplicates(texts).tolist() == whole == brute_force(texts, 0.9)
    assert 1 < len(set(whole)) < 120


def test_a_chain_is_one_group() -> None:
    words = [f"word{i}" for i in range(60)]
    texts = [" ".join(words[i : i + 50]) for i in range(11)]
    assert jaccard(texts[0], texts[1]) >= 0.9 > jaccard(texts[0], texts[10])
    assert set(near_duplicates(texts)) == {0}


def test_the_threshold_itself_counts() -> None:
    texts = ["abcdefghijklm", "abcdefghijklmn"]
    assert jaccard(*texts) == 0.9
    assert near_duplicates(texts, 0.9).tolist() == [0, 0]
    assert near_duplicates(texts, 0.9001).tolist() == [0, 1]


def test_degenerate_texts() -> None:
    assert near_duplicates([]).tolist() == []
    assert near_duplicates(["", " \n", ""]).tolist() == [0, 1, 2]
    assert near_duplicates(["abc", "ABC ", "abd", ""]).tolist() == [0, 0, 1, 2]
    assert near_duplicates(["same"] * 5000 + ["x" * 300_000, "x" * 300_001]).max() == 1
    assert near_duplicates(["lone surrogate \ud800 here", "lone surrogate \ud800 here!"]).tolist() == [0, 0]


def test_many_letters_fall_back_to_hashes() -> None:
    texts = ["".join(chr(0x4E00 + i) for i in range(start, start + 200)) for start in range(0, 9000, 200)]
    assert len(set("".join(texts))) > 7131
    copies = [text + "。" for text in texts]
    half = len(texts)
    groups = near_duplicates(texts + copies)
    assert groups[:half].tolist() == groups[half:].tolist() == list(range(half))


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold must be in"):
        near_duplicates(["a"], threshold)


@given(st.text())
def test_normalise_is_idempotent(text: str) -> None:
    once = normalise(text)
    assert " ".join(once.split()) == once == once.strip()


def test_real_prompts(shared_data) -> None:  # type: ignore[no-untyped-def]
    import polars as pl

    texts = pl.read_parquet(shared_data / "alpacaeval" / "queries.parquet")["prompt"].to_list()
    assert near_duplicates(texts, 0.6).tolist() == brute_force(texts, 0.6)
    assert len(set(near_duplicates(texts, 0.6))) < len(texts)
