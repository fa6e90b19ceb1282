from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.stats import group_folds


@given(st.lists(st.integers(0, 30), min_size=5, max_size=120), st.integers(2, 5), st.integers(0, 3))
def test_whole_groups_and_balance(groups: list[int], k: int, seed: int) -> None:
    groups_N = np.array(groups)
    if len(set(groups)) < k:
        with pytest.raises(ValueError, match="number of groups"):
            group_folds(groups_N, k, seed)
        return
    fold_N = group_folds(groups_N, k, seed)
    for group in set(groups):
        assert len(set(fold_N[groups_N == group])) == 1
    sizes = np.bincount(fold_N, minlength=k)
    assert sizes.min() > 0
    assert sizes.max() - sizes.min() <= np.bincount(groups_N).max()


def test_the_seed_decides() -> None:
    groups_N = np.arange(100)
    assert (group_folds(groups_N, 5, seed=1) == group_folds(groups_N, 5, seed=1)).all()
    assert (group_folds(groups_N, 5, seed=1) != group_folds(groups_N, 5, seed=2)).any()


def test_one_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="k must be in"):
        group_folds(np.arange(4), 1, seed=0)
