"""What the minimum's verdicts rest on."""

from __future__ import annotations

import pytest

from turnout.nn.beds import chars
from turnout.nn.presets._basics import BASICS
from turnout.systems.base import Run


def test_the_verdict_on_variable_k_is_the_selector_farthest_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chars, "STEPS", 2)
    monkeypatch.setattr(chars, "WINDOWS", 4)
    monkeypatch.setattr(chars, "BATCH", 2)
    monkeypatch.setattr(chars, "_cached", {})
    system = next(system for system in BASICS if system.name == "basics_variable_k")
    assert system.measure is not None
    found = system.measure(system, Run(None, "", (0, 1)))
    off = {row["name"]: float(row["off target"] or 0) for row in found.rows}
    assert off["top-2 + switch"] == 0
    assert off["expert choice"] == pytest.approx(0, abs=0.01)
    assert found.value.mean == max(off.values()) > 4  # after two steps a ReLU fires about half of the experts
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(found.value.mean - 0.25)
    assert found.verdict == "not at this size"
