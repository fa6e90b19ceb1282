from __future__ import annotations

import math

import numpy as np
import pytest

from turnout.signals.length import Length


def test_columns_are_log_counts_on_fixed_scales() -> None:
    (row,) = Length().transform(["one two\nthree"])
    expected = [(math.log1p(13) - 5) / 2, (math.log1p(3) - 3.5) / 1.7, (math.log1p(1) - 0.5) / 1.1]
    assert row == pytest.approx(expected, abs=1e-6)


def test_the_whole_length_counts_though_the_middle_is_not_read() -> None:
    short, long, longer = Length().transform(["word " * 100, "word " * 1_000, "word " * 100_000])
    assert (short < long)[:2].all()
    assert (long < longer)[:2].all()
    assert longer[1] == pytest.approx((math.log1p(100_000) - 3.5) / 1.7, abs=0.01)


def test_an_empty_text_is_the_least() -> None:
    empty, other = Length().transform(["", "a"])
    assert (empty <= other).all()
    assert np.isfinite(empty).all()
