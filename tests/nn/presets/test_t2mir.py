from __future__ import annotations

import torch

from turnout.nn.presets import t2mir


def test_a_sequence_has_one_domain_and_one_route() -> None:
    generator = torch.Generator().manual_seed(0)
    x_ND, label_N, patterns = torch.zeros(10, 64), torch.zeros(10, dtype=torch.int64), torch.randn(4, 64)
    index_T = torch.arange(4 * t2mir.LENGTH) % 10
    x_TD, wanted_T, context = t2mir._sequences(x_ND, label_N, patterns, index_T, generator)
    assert torch.equal(wanted_T, 3 * context.task_T % 10)
    assert context.task_T.view(4, -1).unique(dim=1).shape[1] == 1
    scores_TC, losses, logits_TE = t2mir._network("t2mir")(x_TD, context)
    assert scores_TC.shape == (len(index_T), 10)
    assert len(losses) == 2
    assert torch.equal(logits_TE.view(4, t2mir.LENGTH, -1)[:, 0], logits_TE.view(4, t2mir.LENGTH, -1)[:, -1])
