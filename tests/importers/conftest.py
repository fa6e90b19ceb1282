"""Samples in every format, and files written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str, Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file below the test's folder: text as it is, a list of objects as lines or (.json) as a document."""

    def made(name: str, content: Any) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            file.write_text(content, encoding="utf-8")
        elif name.endswith(".jsonl"):
            file.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
        else:
            file.write_text(json.dumps(content), encoding="utf-8")
        return file

    return made
