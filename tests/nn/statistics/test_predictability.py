from __future__ import annotations

import pytest
import torch

from turnout.nn.statistics import Trace, token_predictability


def test_ids_seen_once_give_no_credit() -> None:
    generator = torch.Generator().manual_seed(0)
    choices = torch.randint(8, (2000,), generator=generator)
    trace = Trace.of(choices[:, None], 8, token_T=torch.arange(2000))
    assert token_predictability(trace) < 0.2


def test_a_noisy_rule_is_predictable_to_the_share_it_holds() -> None:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(10, (5000,), generator=generator)
    noisy = torch.rand(5000, generator=generator) < 0.3
    choices = torch.where(noisy, torch.randint(10, (5000,), generator=generator), ids)
    assert token_predictability(Trace.of(choices[:, None], 10, token_T=ids)) == pytest.approx(0.73, abs=0.03)
