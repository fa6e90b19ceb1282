from __future__ import annotations

import pytest
import torch

from turnout.errors import RoutingError
from turnout.nn import LinearGate, RoutingContext, SequenceGate


def test_logits_are_the_mean_over_a_sequence_without_padding() -> None:
    inner, x_TD = LinearGate(8, 4), torch.randn(5, 8)
    mask_T = torch.tensor([True, True, False, True, True])
    context = RoutingContext(sequence_T=torch.tensor([7, 7, 7, 2, 2]), mask_T=mask_T)
    found = SequenceGate(inner)(x_TD, context)[0]
    plain = inner(x_TD)[0]
    assert torch.allclose(found[:2], plain[:2].mean(0).expand(2, -1), atol=1e-6)
    assert torch.allclose(found[3:], plain[3:].mean(0).expand(2, -1), atol=1e-6)


def test_it_needs_sequences() -> None:
    with pytest.raises(RoutingError, match="needs the context's sequence_T, got None"):
        SequenceGate(LinearGate(8, 4))(torch.randn(3, 8))
