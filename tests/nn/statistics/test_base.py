from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from turnout.errors import ParameterError, RoutingError
from turnout.nn import FFN, LinearGate, ReLU, RoutedLayer, RoutingContext, RoutingStats, TopK
from turnout.nn.statistics import srp


def layer_with(stats: RoutingStats, experts: int = 4, k: int = 2) -> RoutedLayer:
    return RoutedLayer(LinearGate(8, experts), TopK(k), FFN(experts, 8, 16), statistics=stats)


def test_two_layers_share_one_object_and_stay_aligned() -> None:
    stats = RoutingStats()
    layer = layer_with(stats)
    tokens = torch.arange(12)
    for number in (0, 1):
        layer(torch.randn(2, 6, 8), RoutingContext(layer=number, token_T=tokens))
    assert stats.layers == (0, 1)
    assert stats.tokens == 12
    assert int(stats.counts_E.sum()) == 48
    assert torch.equal(stats.trace(0).need("token_T"), stats.trace(1).need("token_T"))
    assert stats.trace(0).sequence_T.tolist() == [0] * 6 + [1] * 6


def test_memory_is_bounded_and_the_latest_tokens_stay() -> None:
    stats = RoutingStats(limit=25)
    layer = layer_with(stats)
    for number in range(7):
        layer(torch.randn(10, 8), RoutingContext(task_T=torch.full((10,), number)))
    assert stats.tokens == 70
    assert stats.trace().need("task_T").unique().tolist() == [5, 6]
    layer(torch.randn(100, 8), RoutingContext(task_T=torch.zeros(100)))
    assert stats.trace().tokens == 25
    assert int(stats.counts_E.sum()) == 340


def test_sequences_of_different_passes_stay_apart() -> None:
    stats = RoutingStats()
    layer = layer_with(stats)
    for _ in range(2):
        layer(torch.randn(2, 5, 8))
    assert stats.trace().sequence_T.bincount().tolist() == [5, 5, 5, 5]


def test_padding_is_in_neither_tokens_counts_nor_trace() -> None:
    stats = RoutingStats()
    layer_with(stats)(torch.randn(2, 3, 8), RoutingContext(mask_T=torch.tensor([True, True, False] * 2)))
    assert stats.tokens == stats.trace().tokens == 4
    assert int(stats.counts_E.sum()) == 8
    assert stats.summary()["experts_per_token"] == 2


def test_recomputation_is_not_counted_twice_and_no_graph_is_kept() -> None:
    stats = RoutingStats()
    layer = layer_with(stats)
    x = torch.randn(5, 8, requires_grad=True)
    checkpoint(lambda rows: layer(rows).output, x, use_reentrant=False).sum().backward()
    assert stats.tokens == 5
    assert not stats.trace().weights_TK.requires_grad


def test_passes_of_different_width_make_one_trace() -> None:
    stats = RoutingStats()
    for k in (1, 3):
        layer_with(stats, k=k)(torch.randn(4, 8))
    assert stats.trace().idx_TK.shape == (8, 3)
    assert stats.trace().mask_TK.sum(1).tolist() == [1] * 4 + [3] * 4


def test_a_trace_without_limit_is_refused_and_zero_keeps_counts_only() -> None:
    with pytest.raises(ParameterError, match="at least 0 tokens, got -1"):
        RoutingStats(limit=-1)
    stats = RoutingStats(limit=0)
    layer_with(stats)(torch.randn(3, 8))
    assert stats.trace().tokens == 0
    assert "experts_per_token" not in stats.summary()
    assert "max_violation" in stats.summary()


def test_layers_of_different_sizes_have_no_common_counts() -> None:
    stats = RoutingStats()
    layer_with(stats, 4)(torch.randn(3, 8), RoutingContext(layer=0))
    layer_with(stats, 6)(torch.randn(3, 8), RoutingContext(layer=1))
    with pytest.raises(RoutingError, match="different numbers of experts"):
        _ = stats.counts_E
    assert len(stats.counts(1)) == 6
    with pytest.raises(RoutingError, match="layer 0 has 4 experts, this pass 6"):
        layer_with(stats, 6)(torch.randn(3, 8), RoutingContext(layer=0))
    with pytest.raises(RoutingError, match="layer 5 was not seen; seen: 0, 1"):
        stats.trace(5)
    with pytest.raises(RoutingError, match="say which layer; seen: 0, 1"):
        stats.trace()


def test_functions_take_its_trace() -> None:
    stats = RoutingStats()
    layer_with(stats)(torch.randn(1, 40, 8))
    assert 0 < srp(stats.trace(), 16) <= 1


def test_printed_table_names_layers_and_mean() -> None:
    stats = RoutingStats()
    assert str(stats) == "RoutingStats: nothing routed yet"
    for number in (0, 3):
        layer_with(stats)(torch.randn(9, 8), RoutingContext(layer=number))
    text = str(stats)
    assert "max violation" in text
    assert "Routing over 9 tokens" in text
    assert [line.split()[0] for line in text.splitlines() if " 2 " in line] == ["0", "3", "mean"]


def test_plot_shows_every_layer_and_expert() -> None:
    pytest.importorskip("matplotlib")
    stats = RoutingStats()
    for number in (0, 1):
        layer_with(stats)(torch.randn(9, 8), RoutingContext(layer=number))
    figure = stats.plot()
    heat = figure.axes[0].images[0].get_array()
    assert heat.shape == (2, 4)
    assert float(heat.sum()) == pytest.approx(8)
    figure.canvas.draw()


@dataclass
class Board:
    """What TensorBoard's writer takes."""

    seen: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.seen[name] = (value, step)


@dataclass
class Journal:
    """What a Weights & Biases run takes."""

    seen: list[tuple[dict[str, float], int]] = field(default_factory=list)

    def log(self, scalars: dict[str, float], step: int) -> None:
        self.seen.append((scalars, step))


def test_scalars_go_to_both_kinds_of_writer() -> None:
    stats = RoutingStats()
    layer_with(stats)(torch.randn(9, 8))
    board, journal = Board(), Journal()
    stats.log_to(board, 7)
    stats.log_to(journal, 7)
    assert {name: value for name, (value, _) in board.seen.items()} == stats.scalars() == journal.seen[0][0]
    assert board.seen["routing/max_violation"] == board.seen["routing/layer0/max_violation"]
    with pytest.raises(ParameterError, match="add_scalar or log, got list"):
        stats.log_to([], 7)


def test_a_real_tensorboard_writer_keeps_the_scalars(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorboard's own
        pytest.importorskip("tensorboard")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from torch.utils.tensorboard import SummaryWriter

        stats = RoutingStats()
        layer_with(stats)(torch.randn(9, 8))
        with SummaryWriter(str(tmp_path)) as writer:
            stats.log_to(writer, 3)
        found = EventAccumulator(str(tmp_path))
        found.Reload()
        (event,) = found.Scalars("routing/max_violation")
    assert (event.step, event.value) == (3, pytest.approx(stats.summary()["max_violation"]))


@pytest.mark.parametrize("before", [False, True])
def test_a_layer_that_routes_nothing_does_not_stop_the_others(before: bool) -> None:
    stats = RoutingStats(limit=8)
    torch.manual_seed(0)
    layers = [RoutedLayer(LinearGate(8, 4), ReLU(4), FFN(4, 8, 8), statistics=stats) for _ in range(2)]
    rounds = [False, True] if before else [True]
    for silent in rounds:
        if silent:
            torch.nn.init.zeros_(layers[1].gate.linear.weight)
        for number, layer in enumerate(layers):
            layer(torch.randn(8, 8), RoutingContext(layer=number))
    figures = stats.by_layer()
    assert figures[1]["experts_per_token"] == 0
    assert figures[1]["dead_experts"] == (0 if before else 4)
    assert "effective_support" not in figures[1]
    assert stats.summary()["effective_support"] == figures[0]["effective_support"]
    assert ("max_violation" in figures[1]) == before
    assert "—" in str(stats)
    pytest.importorskip("matplotlib")
    stats.plot()


def test_nothing_routed_is_an_error() -> None:
    with pytest.raises(RoutingError, match="nothing was routed yet"):
        RoutingStats().summary()
    with pytest.raises(RoutingError, match="nothing was routed yet"):
        RoutingStats().plot()
