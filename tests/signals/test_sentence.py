"""The signal finds its weights, and refuses others than it was fitted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from turnout.errors import ParameterError, StateError
from turnout.signals.sentence import Sentence
from turnout.testing.encoders import tensors, write


def test_weights_that_were_not_pulled_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path))
    with pytest.raises(ParameterError, match="turnout models pull all-minilm-l6-v2"):
        Sentence().fit(["a"])


def test_pulled_weights_are_found_in_turnouts_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    write(tmp_path / "models" / "all-minilm-l6-v2.safetensors", tensors())
    rows = Sentence().fit([]).transform(["sort a list", "who painted it?"])
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(2), abs=1e-5)


def test_pulled_weights_are_found_where_the_configuration_keeps_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TURNOUT_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "turnout.toml").write_text('home = "kept"\n')
    (tmp_path / "kept" / "models").mkdir(parents=True)
    write(tmp_path / "kept" / "models" / "all-minilm-l6-v2.safetensors", tensors())
    assert len(Sentence().fit([]).transform(["sort a list"])) == 1


def test_other_weights_than_at_the_fit_are_refused(tmp_path: Path) -> None:
    first, second = (str(write(tmp_path / f"{n}.safetensors", tensors(n))) for n in (1, 2))
    fitted = Sentence(first).fit([])
    fitted.encoder = second
    with pytest.raises(StateError, match="refit"):
        fitted.transform(["a"])


def test_weights_are_found_under_any_name(tmp_path: Path) -> None:
    file = write(tmp_path / "some-weights", tensors())
    assert len(Sentence(str(file)).fit([]).transform(["sort a list"])) == 1
