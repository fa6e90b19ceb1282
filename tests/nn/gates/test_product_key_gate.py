from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from turnout.errors import ParameterError, RoutingError
from turnout.nn import FFN, ProductKeyGate, RoutedLayer, RoutingContext, TopK


@given(st.integers(0, 2**31), st.integers(1, 6), st.data())
def test_the_fast_path_is_exact(seed: int, side: int, data: st.DataObject) -> None:
    torch.manual_seed(seed)
    k = data.draw(st.integers(1, side**2))
    gate, x_TD = ProductKeyGate(5, side**2).eval(), torch.randn(4, 5)
    found = gate(x_TD)[0].topk(k)
    idx_TK, log_p_TK = gate.top(x_TD, k)
    assert torch.allclose(log_p_TK, found.values, atol=1e-5)
    assert torch.allclose(gate(x_TD)[0].gather(-1, idx_TK), found.values, atol=1e-5)
    gate.plan(x_TD, k).check()


def test_logits_are_log_probabilities() -> None:
    assert torch.allclose(ProductKeyGate(5, 9)(torch.randn(4, 5))[0].exp().sum(-1), torch.ones(4))


def test_the_fast_plan_makes_the_layers_output() -> None:
    gate, pool, x_TD = ProductKeyGate(8, 16).eval(), FFN(16, 8, 4), torch.randn(6, 8)
    layer = RoutedLayer(gate, TopK(3, normalize=False), pool)
    fast = layer.combiner(x_TD, gate.plan(x_TD, 3), pool, layer.dispatcher, RoutingContext())
    assert torch.allclose(layer(x_TD).output, fast, atol=1e-6)


def test_the_norm_leaves_padding_out() -> None:
    gate, x_TD = ProductKeyGate(5, 9), torch.randn(10, 5)
    mask_T = torch.arange(10) < 6
    padded = gate(x_TD * torch.where(mask_T, 1.0, 100.0)[:, None], RoutingContext(mask_T=mask_T))[0][:6]
    assert torch.allclose(padded, gate(x_TD[:6])[0], atol=1e-5)


@pytest.mark.parametrize("reentrant", [True, False])
def test_running_moments_move_once_under_recomputation(reentrant: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 5, requires_grad=True)
    plain, wrapped = ProductKeyGate(5, 9), ProductKeyGate(5, 9)
    wrapped.load_state_dict(plain.state_dict())
    plain(x)
    checkpoint(lambda x: wrapped(x)[0], x, use_reentrant=reentrant).sum().backward()
    assert torch.equal(plain.running_mean, wrapped.running_mean)
    assert plain.running_mean.abs().sum() > 0


def test_one_token_trains() -> None:
    assert torch.isfinite(ProductKeyGate(5, 9)(torch.randn(1, 5))[0]).all()


def test_sizes_that_cannot_work_are_named() -> None:
    with pytest.raises(ParameterError, match="`experts` must be a square, got 8"):
        ProductKeyGate(5, 8)
    with pytest.raises(RoutingError, match="got k=10, E=9"):
        ProductKeyGate(5, 9).top(torch.randn(2, 5), 10)
