from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from turnout import nn, registry

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in nn.KINDS for name in registry.names(kind)])
def test_every_part_is_found_under_its_class_name(kind: str, name: str) -> None:
    made = registry.get(kind, name)
    assert getattr(nn, made.__name__) is made
    assert made.kind == kind


def test_the_stub_is_current() -> None:
    """Where this fails: `make docs`."""
    spec = importlib.util.spec_from_file_location("stub_nn", ROOT / "scripts" / "stub_nn.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.STUB.read_text(encoding="utf-8") == module.stub()


def test_without_torch_the_error_names_the_extra() -> None:
    code = (
        "import sys, importlib.util as u; found = u.find_spec; "
        "u.find_spec = lambda name, *rest: None if name == 'torch' else found(name, *rest); "
        "from turnout import nn; nn.TopK"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "turnout.nn needs torch: pip install 'turnout[nn]'" in shown.stderr


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'TopQ'"):
        _ = nn.TopQ
