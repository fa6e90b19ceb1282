"""The operator that stands for the segment loop in graphs."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear

from turnout.nn.dispatch._segment_mm import segment_mm


@pytest.mark.parametrize("counts", [(0, 0, 0), (1, 0, 1), (3, 1, 0), (2, 2, 5)])
def test_equals_a_product_for_each_expert(counts: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x_NI = torch.randn(sum(counts), 6, generator=generator, dtype=torch.float64, requires_grad=True)
    weight_EOI = torch.randn(3, 4, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    y_NO = segment_mm(x_NI, weight_EOI, torch.tensor(counts))
    wanted_NO = torch.cat([linear(x, w) for x, w in zip(x_NI.split(counts), weight_EOI, strict=True)])
    torch.testing.assert_close(y_NO, wanted_NO)
    grad_NO = torch.randn(y_NO.shape, generator=generator, dtype=torch.float64)
    of = [x_NI, weight_EOI]
    torch.testing.assert_close(torch.autograd.grad(y_NO, of, grad_NO), torch.autograd.grad(wanted_NO, of, grad_NO))


@pytest.mark.parametrize("counts", [(0, 2, 0), (3, 1, 21)])
def test_onednn_gives_the_same(counts: tuple[int, ...], onednn: None) -> None:
    generator = torch.Generator().manual_seed(0)
    x_NI = torch.randn(sum(counts), 6, generator=generator, requires_grad=True)
    weight_EOI = torch.randn(3, 4, 6, generator=generator, requires_grad=True)
    y_NO = segment_mm(x_NI, weight_EOI, torch.tensor(counts))
    wanted_NO = torch.cat([linear(x, w) for x, w in zip(x_NI.split(counts), weight_EOI, strict=True)])
    torch.testing.assert_close(y_NO, wanted_NO)
    grad_NO, of = torch.randn(y_NO.shape, generator=generator), [x_NI, weight_EOI]
    torch.testing.assert_close(torch.autograd.grad(y_NO, of, grad_NO), torch.autograd.grad(wanted_NO, of, grad_NO))
