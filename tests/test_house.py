"""The house rules: sizes, no work at import, no broad excepts, everything public documented."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "turnout"
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 800, 80


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    doc = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
    assert node.end_lineno is not None
    assert doc is not None
    return node.end_lineno - doc


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_files_and_functions_stay_small(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    long = {f.name: code_lines(f) for f in functions(ast.parse(text)) if code_lines(f) > LONGEST_FUNCTION}
    assert not long


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_modules_and_public_classes_say_what_they_are(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    public = [n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and not n.name.startswith("_")]
    assert not [node.name for node in public if not ast.get_docstring(node)]


def test_import_loads_no_third_party_package() -> None:
    code = (
        "import sys; import turnout; "
        "own = {'turnout', *sys.stdlib_module_names}; "
        "print(sorted(n for n, m in sys.modules.items() if n.split('.')[0] not in own and hasattr(m, '__file__')))"
    )
    # -I -S keeps out what an editable install or a site hook loads before us
    path = f"import sys; sys.path.insert(0, {str(SOURCE.parent)!r}); "
    shown = subprocess.run([sys.executable, "-I", "-S", "-c", path + code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_every_public_attribute_resolves() -> None:
    import turnout

    assert all(getattr(turnout, name) is not None for name in turnout.__all__)
