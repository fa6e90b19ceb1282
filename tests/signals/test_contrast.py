from __future__ import annotations

import numpy as np
import pytest

from turnout.errors import NotFittedError, ParameterError
from turnout.signals._exemplars import SHIPPED, load
from turnout.signals.contrast import Contrast


def test_it_is_the_difference_of_the_nearest_examples() -> None:
    made = Contrast(positive=("prove the theorem", "derive the bound"), negative=("name the capital",)).fit([])
    value_N1 = np.asarray(made.transform(["prove the theorem", "name the capital", ""]))
    assert value_N1[0, 0] > 0.3 > -0.3 > value_N1[1, 0]
    assert value_N1[2, 0] == 0.0
    alone = Contrast(positive=("prove the theorem",)).fit([])
    assert np.asarray(alone.transform(["prove the theorem"]))[0, 0] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sets_have_two_sides_that_differ(name: str) -> None:
    positive, negative = load(name)
    assert len(positive) == len(negative) == 20
    assert not set(positive) & set(negative)
    made = Contrast(name).fit([])
    assert (np.asarray(made.transform(positive)) > 0).all()
    assert (np.asarray(made.transform(negative)) < 0).all()


def test_negative_examples_alone_are_refused_and_so_is_an_unfitted_signal() -> None:
    with pytest.raises(ParameterError, match="need `positive` ones beside them"):
        Contrast(negative=("x",)).check()
    with pytest.raises(ParameterError, match="`of` must be one of 'complexity', 'jailbreak'"):
        Contrast("hardness").check()
    with pytest.raises(NotFittedError):
        Contrast().transform(["x"])
