from __future__ import annotations

from typing import ClassVar

import pytest

from turnout.base import Component, Number, Of, OneOf, Rule
from turnout.errors import NotFittedError, ParameterError


class Made(Component):
    rules: ClassVar[dict[str, Rule]] = {
        "k": Number(1, 9, integer=True),
        "mode": OneOf(("a", "b")),
        "part": Of((object,)),
    }

    def __init__(self, k: int = 2, mode: str = "a", part: object = None) -> None:
        self.k, self.mode, self.part = k, mode, part


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"k": 0}, r"`k` must be an integer in \[1, 9\], got 0"),
        ({"k": True}, "got True"),
        ({"k": 2.5}, "got 2.5"),
        ({"mode": "c"}, "`mode` must be one of 'a', 'b', got 'c'"),
    ],
)
def test_a_broken_rule_names_parameter_rule_and_value(params: dict[str, object], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        Made(**params).check()  # type: ignore[arg-type]


def test_clone_is_unfitted_and_clones_its_parts() -> None:
    inner = Made(k=3)
    inner.w_ = 1  # type: ignore[attr-defined]
    outer = Made(part=inner)
    copy = outer.clone(k=5)
    assert (copy.k, outer.k) == (5, 2)
    assert isinstance(copy.part, Made)
    assert copy.part is not inner
    assert copy.part.learned() == {}
    with pytest.raises(NotFittedError):
        copy.require_fitted()


def test_registered_name_is_the_module_name() -> None:
    assert Made.name == __name__.rpartition(".")[2]
