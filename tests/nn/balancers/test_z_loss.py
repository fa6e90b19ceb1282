from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from turnout.nn import ZLoss
from turnout.nn.base import Routing


def test_the_square_of_the_log_partition_without_padding(routing: Callable[..., Routing]) -> None:
    logits_TE, mask_T = torch.randn(6, 4), torch.arange(6) < 4
    expected = logits_TE[:4].exp().sum(-1).log().square().mean().item()
    assert ZLoss(2.0)(routing(logits_TE, mask_T=mask_T)).item() == pytest.approx(2 * expected, rel=1e-5)
