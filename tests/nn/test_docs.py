"""The tutorial's blocks run, in order, as one program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from turnout import models

PAGE = Path(__file__).parents[2] / "docs" / "nn.md"
BLOCK = re.compile(r"(<!-- slow -->\n)?```python\n(.*?)```", re.DOTALL)


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own, and torch's generator as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TURNOUT_DATA", raising=False)  # the page is the same with and without the tables
    with torch.random.fork_rng():
        yield tmp_path


def run(slow: bool) -> dict[str, object]:
    """Execute the page's blocks in one namespace, the slow ones only where asked."""
    known: dict[str, object] = {"__name__": "docs"}
    for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if slow or not match[1]:
            exec(compile(match[2], str(PAGE), "exec"), known)
    return known


def test_fast_blocks_run(at: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("matplotlib")
    known = run(slow=False)
    assert known["loss"].item() < 0.95 * known["first"]  # type: ignore[attr-defined, operator]
    assert (at / "nn_load.png").stat().st_size > 1000


def test_the_character_model_is_forty_lines() -> None:
    block = BLOCK.findall(PAGE.read_text(encoding="utf-8"))[0][1]
    code = [line for line in block.splitlines() if line.strip()]
    assert len(code) <= 40


@pytest.mark.slow
def test_slow_blocks_run(at: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    if models.missing(["smollm2-135m"]):
        pytest.skip("no weights: turnout models pull smollm2-135m")
    known = run(slow=True)
    held_out, routed = known["held_out"], known["routed"]
    assert routed < held_out(weights=torch.full((8,), 1 / 8))  # type: ignore[operator]
