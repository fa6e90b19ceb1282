"""Whose matrix products a pool takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from turnout.nn import _products

WEIGHTS = torch.zeros(2, 8, 4)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_both_give_the_same(onednn: None, add: bool, turned: bool) -> None:
    torch.manual_seed(0)
    left, right, start = torch.randn(5, 3), torch.randn(3, 7), torch.randn(5, 7)
    if turned:
        left, right = left.t().contiguous().t(), right.t().contiguous().t()
    wanted = left @ right + start * add
    for products in (_products.USUAL, _products.ONEDNN):
        out = start.clone()
        products.write(left, right, out, add=add)
        torch.testing.assert_close(out, wanted)
        torch.testing.assert_close(products.mm(left, right), left @ right)


def test_small_products_other_types_and_a_switch_stay_with_torch(onednn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _products.best(WEIGHTS, 3) is _products.ONEDNN
    assert _products.best(WEIGHTS.double(), 3) is _products.USUAL
    with torch.autocast("cpu"):
        assert _products.best(WEIGHTS, 3) is _products.USUAL
    torch._C._set_mkldnn_enabled(False)
    try:
        assert _products.best(WEIGHTS, 3) is _products.USUAL
    finally:
        torch._C._set_mkldnn_enabled(True)
    monkeypatch.setattr(_products, "FEWEST", 3 * 8 * 4 // 2 + 1)
    assert _products.best(WEIGHTS, 3) is _products.USUAL


def test_whoever_watches_operators_sees_the_usual_ones(onednn: None) -> None:
    with FlopCounterMode(display=False):
        assert _products.best(WEIGHTS, 3) is _products.USUAL


@pytest.mark.parametrize(
    ("processor", "capability", "taken"),
    [("AuthenticAMD", "AVX512", True), ("GenuineIntel", "AVX512", False), ("AuthenticAMD", "AVX2", False)],
)
def test_only_where_mkl_holds_back(
    processor: str, capability: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    monkeypatch.setattr(_products, "_processor", lambda: f"vendor_id: {processor}")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert _products._held_back.__wrapped__() == (taken and there)


def test_an_operator_that_refuses_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("another signature")

    monkeypatch.setattr(_products, "_processor", lambda: "AuthenticAMD")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(_products.ONEDNN, "mm", refuses)
    assert not _products._held_back.__wrapped__()


def test_the_processor_is_told_where_no_file_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: False)
    monkeypatch.setattr(_products.platform, "processor", lambda: "AMD64 Family 25, AuthenticAMD")
    assert _products._processor() == "AMD64 Family 25, AuthenticAMD"


@given(st.integers(0, 5000))
def test_a_step_adds_less_than_sixteen_rows(rows: int) -> None:
    stepped = _products.stepped(rows)
    assert 0 <= stepped - rows < 16
    assert stepped % 16 == 0
