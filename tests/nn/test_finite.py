"""A pass looks at its logits once, and never takes other logits for those it has seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from turnout.errors import RoutingError
from turnout.nn import FFN, LinearGate, Override, RoutedLayer, RoutingContext, TopK
from turnout.nn.base import forbid_nan, known_finite


class Seen(TorchDispatchMode):
    """Writes down the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("watched", [torch.no_grad, torch.inference_mode])
def test_a_pass_reads_one_number_before_it_has_chosen(watched: Callable[[], Any]) -> None:
    gate, select = LinearGate(8, 4), TopK(2)
    with watched(), Seen() as seen:
        logits_TE, _ = gate(torch.randn(3, 8))
        select(logits_TE)
    assert sum(call in {"item", "_local_scalar_dense"} for call in seen.calls) == 1
    assert "min" not in seen.calls


def _written(logits_TE: Tensor) -> Tensor:
    logits_TE[1, 0] = float("nan")
    return logits_TE


@pytest.mark.parametrize("change", [_written, lambda t: t * float("nan"), lambda t: t.clone().fill_(float("nan"))])
def test_what_was_changed_since_is_looked_at_again(change: Callable[[Tensor], Tensor]) -> None:
    logits_TE = torch.randn(3, 4)
    TopK(2)(logits_TE)
    assert known_finite(logits_TE)
    with pytest.raises(RoutingError, match="TopK: logits must be numbers, got NaN in row"):
        TopK(2)(change(logits_TE))


def test_a_hand_on_the_choice_and_an_infinite_logit_are_seen() -> None:
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 16))
    x_TD = torch.randn(3, 8)
    layer(x_TD)
    with pytest.raises(RoutingError, match="TopK: logits must be numbers, got NaN in row 0"):
        layer(x_TD, RoutingContext(overrides={0: Override(add=torch.full((4,), float("nan")))}))
    silenced_TE = torch.tensor([[0.0, float("-inf"), float("-inf")], [0.0, 1.0, 2.0]])
    for _ in range(2):
        forbid_nan(silenced_TE, "test")
        assert not known_finite(silenced_TE)
        assert TopK(2)(silenced_TE).idx_TK.tolist() == [[0, 3], [2, 1]]


def test_another_tensor_in_the_place_of_one_that_is_gone_is_not_known() -> None:
    for _ in range(20):
        forbid_nan(torch.zeros(2, 2), "test")  # its memory, and its id, are free for the next
        fresh_TE = torch.full((2, 2), float("nan"))
        assert not known_finite(fresh_TE)
        del fresh_TE
