from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from turnout.features import Sparse, check_rows, clip, n_rows, take

DENSE = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 5)),
    elements=st.sampled_from([0.0, 0.0, 1.0, -2.0, 0.5]),
)


def sparse(dense_ND: np.ndarray) -> Sparse:
    rows, columns = np.nonzero(dense_ND)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense_ND)))])
    return Sparse(indptr.astype(np.int64), columns.astype(np.int32), dense_ND[rows, columns], dense_ND.shape[1])


@given(DENSE)
def test_products_and_rows_equal_the_dense_ones(dense_ND: np.ndarray) -> None:
    made = sparse(dense_ND)
    weights_DE = np.arange(dense_ND.shape[1] * 3, dtype=np.float32).reshape(-1, 3)
    np.testing.assert_allclose(made @ weights_DE, dense_ND @ weights_DE)
    np.testing.assert_array_equal(made.toarray(), dense_ND)
    back = np.arange(len(dense_ND))[::-1]
    np.testing.assert_array_equal(made.rows(back).toarray(), dense_ND[back])


@given(st.text(max_size=3000))
def test_clip_bounds_what_is_read(text: str) -> None:
    kept = clip(text)
    assert len(kept) <= 2001
    assert kept.startswith(text[:1000])
    assert kept.endswith(text[-1000:])


def test_take_and_checks() -> None:
    features = {"a": np.eye(3, dtype=np.float32), "b": sparse(np.eye(3, dtype=np.float32))}
    taken = take(features, np.array([2, 0]))
    assert n_rows(taken) == 2
    check_rows(taken, ["a", "b"], 2)
    with pytest.raises(ValueError, match="'c' is missing; got a, b"):
        check_rows(taken, ["c"], 2)
    with pytest.raises(ValueError, match="'a' has 2 rows, expected 3"):
        check_rows(taken, ["a"], 3)
