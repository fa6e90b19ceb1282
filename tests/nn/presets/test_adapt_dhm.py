from __future__ import annotations

import torch

from turnout.nn import RoutingContext
from turnout.nn.presets import adapt_dhm


def test_clusters_scale_what_all_share() -> None:
    pool = adapt_dhm._scaled(3)
    x_ND = torch.randn(5, 64)
    outputs = [part(x_ND) for part in pool.parts]
    assert torch.equal(outputs[0], outputs[1])
    pool.parts[0].first.weight.data.mul_(2)
    assert not torch.equal(pool.parts[1](x_ND), outputs[1])
    pool.parts[1].last_scale.data.mul_(0)
    assert not torch.equal(pool.parts[1](x_ND), pool.parts[2](x_ND))


def test_the_oracle_knows_the_domain() -> None:
    task_T = torch.tensor([2, 0, 3, 1])
    plan = adapt_dhm._known()(torch.randn(4, 64), RoutingContext(task_T=task_T)).plan
    assert torch.equal(plan.idx_TK[:, 0], task_T)


def test_domains_shift_labels_and_leave_a_pattern() -> None:
    x_ND, label_N = torch.zeros(40, 64), torch.zeros(40, dtype=torch.int64)
    seen_ND, wanted_N, domain_N = adapt_dhm._domains(x_ND, label_N, 0, 0)
    assert torch.equal(wanted_N, 3 * domain_N % 10)
    assert seen_ND.unique(dim=0).shape[0] == adapt_dhm.DOMAINS
