"""The contract battery over everything registered; a new file in a room is covered without an edit here."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from turnout import registry
from turnout.testing import contracts, encoders

CASES = [
    pytest.param(kind, name, check, id=f"{kind}-{name}-{check}")
    for kind in contracts.KINDS
    for name in registry.names(kind)
    for check, _ in contracts.checks(kind)
]


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands in for weights that have to be pulled."""
    return encoders.write(tmp_path_factory.mktemp("encoder") / "tiny.safetensors", encoders.tensors())


@pytest.mark.parametrize(("kind", "name", "check"), CASES)
def test_contract(kind: str, name: str, check: str, encoder: Path) -> None:
    make: Any = registry.get(kind, name)
    if (kind, name) == ("estimator", "fine_tuned"):
        pytest.importorskip("torch")
    if (kind, name) == ("signal", "sentence"):
        make = partial(make, encoder=str(encoder))
    reason = contracts.KNOWN_FAILURES.get((kind, name, check))
    if reason is None:
        dict(contracts.checks(kind))[check](make)
        return
    with pytest.raises(AssertionError):
        dict(contracts.checks(kind))[check](make)


def test_known_failures_are_about_registered_parts_and_checks() -> None:
    for kind, name, check in contracts.KNOWN_FAILURES:
        assert name in registry.names(kind)
        assert check in dict(contracts.checks(kind))
