"""Checks on a signal, on texts that are short, long, empty and strange. Shape letters: N texts, D columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from turnout.features import Floats, Sparse
from turnout.testing._contract_component import registered
from turnout.testing._contract_estimator import round_trip
from turnout.testing._imports import heavy_imports

__all__ = [
    "any_text_has_features",
    "fit_is_deterministic",
    "fit_returns_self",
    "no_text_has_no_rows",
    "one_text_equals_the_batch",
    "only_the_ends_of_a_long_text_are_read",
    "prediction_imports_nothing_heavy",
    "saved_state_transforms_the_same_bits",
    "stage_and_cost_are_stated",
]

Make = Callable[..., Any]

TEXTS = (
    "What is 2 + 2?",
    "Sort a list in Python without using the standard library.",
    "Who painted the ceiling of the Sistine Chapel? A. Raphael B. Michelangelo",
    "def f(x):\n    return x + 1\n",
    "Wie ist das Wetter in der Stadt, und was kostet ein Kaffee?",
    "List three reasons to use a list.",
)
STRANGE = (
    "",
    " ",
    "\n\n\t",
    "a",
    "日本語の文章です。",
    "مرحبا",
    "e\u0301\u200d\u202e",
    "👩‍👩‍👧",
    "\x00\ufffd",
    "\ud800",
    "a" * 5000,
)


def fit_returns_self(make: Make) -> None:
    """`fit` gives back the signal."""
    made = make()
    assert made.fit(TEXTS) is made, "fit must return self"


def any_text_has_features(make: Make) -> None:
    """One finite row per text, dense in float32 or sparse, of a constant width, for empty and strange texts too."""
    made = make().fit(TEXTS)
    features, strange = made.transform(TEXTS), made.transform(STRANGE)
    assert len(features) == len(TEXTS), f"{len(features)} rows for {len(TEXTS)} texts"
    assert len(strange) == len(STRANGE), f"{len(strange)} rows for {len(STRANGE)} texts"
    assert features.shape[1] == strange.shape[1], f"{features.shape[1]} columns, then {strange.shape[1]}"
    for block in (features, strange):
        values = block.data if isinstance(block, Sparse) else block
        assert values.dtype == np.float32, f"dtype {values.dtype}, not float32"
        assert np.isfinite(values).all(), "a feature is not finite"
        _sparse_is_sound(block)


def no_text_has_no_rows(make: Make) -> None:
    """No text, no row, but the same columns; a fit on one empty text works."""
    made = make().fit(TEXTS)
    assert made.transform([]).shape == (0, made.transform(TEXTS).shape[1]), "no text has another shape than (0, D)"
    assert len(make().fit([""]).transform(["x"])) == 1, "a fit on an empty text gives no row"


def one_text_equals_the_batch(make: Make) -> None:
    """A text alone has the features it has among others, but for rounding."""
    made = make().fit(TEXTS)
    batch_ND = _array(made.transform(TEXTS + STRANGE))
    for row, text in enumerate(TEXTS + STRANGE):
        alone_D = _array(made.transform([text]))[0]
        assert np.allclose(alone_D, batch_ND[row], atol=1e-6), f"{text[:40]!r} differs alone and in a batch"


def fit_is_deterministic(make: Make) -> None:
    """Two fits on the same texts give the same bits."""
    first, second = (_array(make().fit(TEXTS).transform(TEXTS)) for _ in range(2))
    assert np.array_equal(first, second), "two fits give different features"


def only_the_ends_of_a_long_text_are_read(make: Make) -> None:
    """Between the first and the last 1,000 characters only the length counts."""
    made = make().fit(TEXTS)
    first, second = ("list " * 200 + middle * 1000 + " sort" * 200 for middle in ("a ", "? "))
    same = np.array_equal(_array(made.transform([first])), _array(made.transform([second])))
    assert same, "the middle of a long text is read"


def saved_state_transforms_the_same_bits(make: Make) -> None:
    """A saved signal gives the same bits."""
    made = make().fit(TEXTS)
    if registered(made):
        loaded = round_trip(made)
        same = np.array_equal(_array(made.transform(TEXTS + STRANGE)), _array(loaded.transform(TEXTS + STRANGE)))
        assert same, "features differ after saving and loading"


def prediction_imports_nothing_heavy(make: Make) -> None:
    """A fresh interpreter that loads and transforms has imported neither scikit-learn, scipy, polars nor torch."""
    made = make().fit(TEXTS)
    if registered(made):
        found = heavy_imports(made, "transform", list(TEXTS))
        assert not found, f"transform imports {found}"


def stage_and_cost_are_stated(make: Make) -> None:
    """`stage` is one of the four, `blocking` a bool; one that always blocks is slow on every text."""
    made = make()
    assert made.stage in ("before", "probe", "during", "after"), f"stage {made.stage!r}"
    assert isinstance(made.blocking, bool), f"blocking {made.blocking!r}"
    slow = [made.is_slow(text) for text in (TEXTS[0], "é" * 2000)]
    assert all(isinstance(one, bool) for one in slow), f"is_slow gives {slow!r}"
    assert all(slow) or not made.blocking, "blocking, but not slow on every text"


def _sparse_is_sound(block: Any) -> None:
    if isinstance(block, Sparse):
        assert block.indptr.dtype == np.int64, f"indptr of dtype {block.indptr.dtype}"
        assert block.indices.dtype == np.int32, f"indices of dtype {block.indices.dtype}"
        assert (np.diff(block.indptr) >= 0).all(), "indptr falls"
        inside = not len(block.indices) or (block.indices.min() >= 0 and block.indices.max() < block.columns)
        assert inside, "an index outside the columns"


def _array(block: Any) -> Floats:
    return np.asarray(block.toarray() if isinstance(block, Sparse) else block)
