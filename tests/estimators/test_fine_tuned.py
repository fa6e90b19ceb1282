"""The estimator around the fine-tuned encoder: without torch, with newcomers, as a router."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from turnout import registry
from turnout.errors import ConfigError
from turnout.estimators.fine_tuned import FineTuned, _logistic
from turnout.outcomes import OutcomeLog
from turnout.routers import Router

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from turnout.routers import Router
router = Router.load(sys.argv[1])
print(router.choose(["add 1 and 2", "name the river 3"]).tolist())
"""


def made_log(rows: int = 160) -> OutcomeLog:
    rng = np.random.default_rng(0)
    texts = [f"{'add the sums' if n % 2 else 'name the river'} {rng.integers(1e6)}" for n in range(rows)]
    return OutcomeLog.from_arrays(texts, ["sums", "names"], [[n % 2, 1 - n % 2] for n in range(rows)])


def test_without_torch_fitting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    tokens = registry.create("signal", "tokens").transform(["a", "b"])
    with pytest.raises(ConfigError, match=r"pip install 'turnout\[nn\]'"):
        FineTuned().fit({"tokens": tokens}, np.eye(2))


def test_dense_features_are_refused() -> None:
    pytest.importorskip("torch")
    with pytest.raises(TypeError, match="sparse counts"):
        FineTuned().fit({"tokens": np.zeros((4, 2), np.float32)}, np.ones((4, 1)))


def test_a_saved_router_needs_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    log = made_log()
    router = Router.fit(log, estimator=FineTuned(epochs=6, step=5e-3), guard=False, folds=2)
    assert log.matrix()[np.arange(len(log)), router.choose(log)].mean() > 0.9
    router.save(tmp_path / "router")
    shown = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "router")], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == str(router.choose(["add 1 and 2", "name the river 3"]).tolist())


def test_newtons_method_finds_a_known_head() -> None:
    rng = np.random.default_rng(0)
    units_NU = np.hstack([rng.normal(size=(4000, 2)), np.ones((4000, 1))])
    chance_N = 1 / (1 + np.exp(-(units_NU @ [2.0, -1.0, 0.5])))
    found_U = _logistic(units_NU, (rng.random(4000) < chance_N).astype(float))
    np.testing.assert_allclose(found_U, [2.0, -1.0, 0.5], atol=0.15)
