from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from turnout.errors import NotFittedError, ParameterError
from turnout.features import Sparse
from turnout.signals.tfidf import Tfidf
from turnout.unspaced import UNSPACED

TEXTS = [
    "How do I sort a list of numbers in Python?",
    "Sort the list, then print the list.",
    "What is the sum of 2 and 2?  The sum!",
    "Wer hat Äpfel und ÖL gekauft? Äpfel!",
    "如何 对 列表 排序",
    "a i x",
    "who painted\tthe ceiling of the\n\nchapel, and who paid?",
]


def sklearn_rows(analyzer: str, span: tuple[int, int], texts: list[str], **params: object) -> np.ndarray:
    if analyzer == "word":
        params["token_pattern"] = rf"(?u)[^\W{UNSPACED}]{{2,}}|[{UNSPACED}]"
    made = TfidfVectorizer(analyzer=analyzer, ngram_range=span, sublinear_tf=True, **params).fit(TEXTS)
    return made.transform(texts).toarray()


@pytest.mark.parametrize("words", [(1, 1), (1, 2), (2, 3)])
def test_words_equal_scikit_learn(words: tuple[int, int]) -> None:
    ours = Tfidf(words=words, chars=(0, 0), min_df=1).fit(TEXTS).transform(TEXTS)
    assert ours.toarray() == pytest.approx(sklearn_rows("word", words, TEXTS), abs=1e-6)


@pytest.mark.parametrize("chars", [(1, 1), (2, 4), (3, 5), (8, 8)])
def test_characters_equal_scikit_learn(chars: tuple[int, int]) -> None:
    ours = Tfidf(words=(0, 0), chars=chars, min_df=1).fit(TEXTS).transform(TEXTS)
    assert ours.toarray() == pytest.approx(sklearn_rows("char_wb", chars, TEXTS), abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=80) | st.text(alphabet="abst list.\t\n?", max_size=80))
def test_any_text_equals_scikit_learn(text: str) -> None:
    ours = Tfidf(words=(1, 2), chars=(2, 3), min_df=1).fit(TEXTS).transform([text]).toarray()
    blocks = [sklearn_rows("word", (1, 2), [text]), sklearn_rows("char_wb", (2, 3), [text])]
    assert ours == pytest.approx(np.concatenate(blocks, axis=1) * 0.5**0.5, abs=1e-6)


def test_texts_of_the_default_pattern_are_cut_as_scikit_learn_cuts_them() -> None:
    """Where spaces part the words, the pattern is scikit-learn's own."""
    spaced = [text for text in TEXTS if "如" not in text]
    theirs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(spaced).transform(spaced).toarray()
    ours = Tfidf(words=(1, 2), chars=(0, 0), min_df=1).fit(spaced).transform(spaced).toarray()
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_chinese_texts_that_share_a_word_are_alike() -> None:
    texts = ["今天的天气怎么样", "查询天气预报", "订一张火车票"]
    rows = Tfidf(chars=(0, 0), min_df=1).fit(texts).transform(texts).toarray()
    assert rows[0] @ rows[1] > 0.1 > rows[0] @ rows[2]


def test_rare_and_surplus_terms_are_left_out() -> None:
    few = Tfidf(words=(1, 1), chars=(0, 0), min_df=2, max_features=2).fit(TEXTS)
    expected = sklearn_rows("word", (1, 1), TEXTS, min_df=2, max_features=2)
    assert few.transform(TEXTS).toarray() == pytest.approx(expected, abs=1e-6)
    assert few.transform(TEXTS).shape == (len(TEXTS), 2)


def test_both_blocks_give_rows_of_unit_length() -> None:
    rows = Tfidf(min_df=1).fit(TEXTS).transform(TEXTS[:4]).toarray()
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(4), abs=1e-6)


def test_columns_of_a_row_are_sorted_and_distinct() -> None:
    rows = Tfidf(min_df=1).fit(TEXTS).transform(TEXTS)
    assert isinstance(rows, Sparse)
    for start, end in zip(rows.indptr, rows.indptr[1:], strict=False):
        assert (np.diff(rows.indices[start:end]) > 0).all()


@pytest.mark.parametrize("texts", [[""], ["a", "?"], []])
def test_texts_without_terms_can_be_fitted(texts: list[str]) -> None:
    made = Tfidf(chars=(0, 0)).fit(texts)
    assert made.transform(["sort a list", ""]).shape == (2, 0)


def test_a_refit_replaces_the_vocabulary() -> None:
    made = Tfidf(min_df=1).fit(TEXTS)
    made.transform(TEXTS)
    again = made.fit(["zebra crossing"]).transform(["zebra", "sort a list"])
    assert len(again.rows(np.array([0])).data) > 0
    assert len(again.rows(np.array([1])).data) == 0


def test_threads_may_share_a_fitted_signal() -> None:
    made = Tfidf(min_df=1).fit(TEXTS)
    expected = made.clone().fit(TEXTS).transform(TEXTS).toarray()
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(np.array_equal(made.transform(TEXTS).toarray(), expected)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_transform_needs_fit() -> None:
    with pytest.raises(NotFittedError, match="Tfidf is not fitted"):
        Tfidf().transform(["x"])


@pytest.mark.parametrize(
    "params",
    [{"words": (2, 1)}, {"words": (1,)}, {"words": "ab"}, {"chars": (0, 3)}, {"chars": (1, 9)}, {"max_features": 0},
     {"min_df": 0.5}, {"words": (0, 0), "chars": (0, 0)}, {"words": (True, 2)}],
)  # fmt: skip
def test_bad_parameters_are_named(params: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=next(iter(params))):
        Tfidf(**params).fit(TEXTS)  # type: ignore[arg-type]


def test_a_text_of_one_ngram_over_and_over() -> None:
    fitted = Tfidf(words=(1, 1), chars=(1, 2), min_df=1).fit(TEXTS)
    for text in ("i " * 3000, "a" * 5000, "\u0130" * 5000):
        assert np.isfinite(fitted.transform([text]).data).all()
