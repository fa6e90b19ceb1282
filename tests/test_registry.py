from __future__ import annotations

import subprocess
import sys

import pytest

from turnout import registry
from turnout.errors import UnknownNameError


@pytest.mark.parametrize("kind", [kind for kind in registry.ROOMS if kind != "system"])
def test_every_file_registers_one_object_under_its_name(kind: str) -> None:
    assert registry.names(kind)
    for name in registry.names(kind):
        assert registry.get(kind, name).name == name


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tfidf'"):
        registry.get("signal", "tfidff")
    with pytest.raises(UnknownNameError, match="did you mean 'signal'"):
        registry.names("signals")


def test_listing_imports_no_module() -> None:
    code = (
        "import sys; from turnout import registry; registry.names('estimator'); "
        "print([n for n in sys.modules if n.startswith('turnout.estimators.') and not n.endswith('base')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
