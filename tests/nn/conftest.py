from __future__ import annotations

import pytest
import torch

from turnout.nn import _products


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN's products for every pool in float32, however small and whatever the processor."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch carries no oneDNN")
    monkeypatch.setattr(_products, "_held_back", lambda: True)
    monkeypatch.setattr(_products, "FEWEST", 0)
