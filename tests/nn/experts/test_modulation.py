from __future__ import annotations

import pytest
import torch

from turnout.nn import LinearGate, Modulation, RoutedLayer, TopK


@pytest.mark.parametrize("mapped", [True, False])
def test_starts_as_the_shared_network(mapped: bool) -> None:
    pool, x_TD = Modulation(4, 8, 16, mapped=mapped), torch.randn(5, 8)
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), pool)
    torch.testing.assert_close(layer(x_TD).output, pool.prepare(x_TD))


def test_the_shared_network_runs_once_per_token() -> None:
    pool, seen = Modulation(4, 8, 16), []
    pool.up.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[0]))
    RoutedLayer(LinearGate(8, 4), TopK(3), pool)(torch.randn(30, 8))
    assert seen == [30]
