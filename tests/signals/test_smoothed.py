"""Views that mean the same, and their mean."""

from __future__ import annotations

import numpy as np
import pytest

from turnout import registry
from turnout.errors import ParameterError
from turnout.features import Sparse
from turnout.signals.smoothed import VIEWS, Smoothed, canonical

TEXTS = ["Who wrote the Odyssey?", "Sort a list, please.", "What is 2 + 2?\nA. 3\nB. 4", ""]


@pytest.mark.parametrize(
    "other",
    [
        "WHO WROTE THE ODYSSEY?",
        "  Who  wrote the\tOdyssey? \n\n",
        "Please: who wrote the Odyssey? Thank you!",
        "You are a helpful assistant. Answer the following question.\n\nQuestion: Who wrote the Odyssey?\nAnswer:",
        "**Who wrote the Odyssey?**",
    ],
)
def test_what_means_the_same_has_one_spelling(other: str) -> None:
    assert canonical(other) == canonical("Who wrote the Odyssey?") == "who wrote the odyssey?"


def test_options_are_sorted_and_other_lists_are_not() -> None:
    first, second = "Who?\nA. Ovid\nB. Homer\nC. Plato", "Who?\nA. Plato\nB. Ovid\nC. Homer"
    assert canonical(first) == canonical(second)
    assert canonical("1. b\n2. a") == "1. b\n2. a"
    assert canonical("who?\nA. Ovid") != canonical("who?\nA. Homer")


def test_a_long_text_keeps_its_length_and_its_ends() -> None:
    text = "Start  HERE " + "x" * 5000 + " the  END"
    found = canonical(text)
    assert len(found) == len(text)
    assert found.startswith("start here")
    assert found.endswith("the end")


@pytest.mark.parametrize("name", ["embedding", "format", "length"])
def test_dense_rows_are_the_mean_over_views(name: str) -> None:
    inner = registry.create("signal", name).fit(TEXTS)
    mean_ND = Smoothed.around(inner, ("plain", "canonical")).transform(TEXTS)
    wanted_ND = (inner.transform(TEXTS) + inner.transform([canonical(text) for text in TEXTS])) / 2
    assert np.allclose(mean_ND, wanted_ND, atol=1e-6)


def test_sparse_rows_are_the_mean_over_views() -> None:
    inner = registry.create("signal", "tfidf", min_df=1).fit([*TEXTS, *map(canonical, TEXTS)])
    mean = Smoothed.around(inner, ("plain", "thinned")).transform(TEXTS)
    assert isinstance(mean, Sparse)
    views = [view for name in ("plain", "thinned") for view in VIEWS[name]]
    wanted_ND = np.mean([inner.transform([view(text) for text in TEXTS]).toarray() for view in views], axis=0)
    assert np.allclose(mean.toarray(), wanted_ND, atol=1e-6)


def test_thinned_views_leave_out_every_word_once() -> None:
    text = "one two three four five six seven eight nine ten"
    left = [set(text.split()) - set(view(text).split()) for view in VIEWS["thinned"]]
    assert set.union(*left) == set(text.split())
    assert sum(map(len, left)) == 10


def test_unknown_views_are_refused() -> None:
    with pytest.raises(ParameterError, match="`views` must be some of plain, canonical, thinned"):
        Smoothed(views=("upside down",)).check()
