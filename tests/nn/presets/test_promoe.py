from __future__ import annotations

import torch

from turnout.nn import Override, RoutingContext
from turnout.nn.presets import promoe


def test_unconditional_tokens_have_an_expert_of_their_own() -> None:
    layer = promoe.PROMOE.build()["layer"]
    label_T = torch.tensor([3, promoe.UNCONDITIONAL, 7, promoe.UNCONDITIONAL])
    context = RoutingContext(overrides={0: Override(add=promoe._hands(label_T))})
    routed = layer(torch.randn(4, promoe.WIDTH), context)
    last_T = routed.plan.idx_TK[:, 0] == promoe.EXPERTS
    assert last_T.tolist() == [False, True, False, True]
    assert routed.plan.weights_TK[1].item() == routed.plan.logits_TE[1, promoe.EXPERTS].item()
    assert torch.isfinite(routed.losses["contrastive_prototypes"])


def test_every_variant_of_the_flow_runs() -> None:
    for kind in ("promoe", "prototypes alone", "linear + switch", "dense"):
        model = promoe._network(kind)
        flow_BD, passed = model(torch.randn(5, 64), torch.randn(5, 16), torch.tensor([0, 1, 2, 10, 10]))
        assert flow_BD.shape == (5, 64)
        assert len(passed) == (0 if kind == "dense" else promoe.LAYERS)
