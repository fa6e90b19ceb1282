"""The default path in a compiled graph, in an exported program, and under activation checkpointing."""

from __future__ import annotations

import copy
import shutil
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from turnout.nn import (
    FFN,
    EntropyLoss,
    ExpertChoice,
    L1Controller,
    LinearGate,
    LossFreeBias,
    MaskSchedule,
    ProductKeyGate,
    ReLU,
    RoutedLayer,
    RoutingContext,
    RoutingStats,
    Sinkhorn,
    SwitchLoss,
    Threshold,
    TopK,
    TopP,
    ZLoss,
    update_biases,
)


def layer_of(width: int = 8) -> RoutedLayer:
    torch.manual_seed(0)
    return RoutedLayer(LinearGate(width, 4), TopK(2), FFN(4, width, 8), balancers=[SwitchLoss(0.01)])


class Loss(nn.Module):
    """A block whose result holds the output and the balancing loss."""

    def __init__(self, layer: RoutedLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, context: RoutingContext | None = None) -> Tensor:
        routed = self.layer(x, context)
        loss: Tensor = routed.output.square().sum() + sum(routed.losses.values())
        return loss


COMPILER = pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "width", "tokens"),
    [
        ("aot_eager", 8, 20),
        ("aot_eager", 6, 20),
        ("aot_eager", 6, 3),
        pytest.param("inductor", 8, 20, marks=COMPILER),
        pytest.param("inductor", 8, 1, marks=COMPILER),
    ],
)
def test_compiles_into_one_graph(backend: str, width: int, tokens: int) -> None:
    block, x_TD = Loss(layer_of(width)), torch.randn(tokens, width, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its tracer
        compiled = torch.compile(block, fullgraph=True, backend=backend)
        found = [compiled(x_TD), *torch.autograd.grad(compiled(x_TD), [x_TD, *block.parameters()])]
    wanted = [block(x_TD), *torch.autograd.grad(block(x_TD), [x_TD, *block.parameters()])]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_ragged_plan_compiles_too() -> None:
    layer, x_TD = layer_of(), torch.randn(6, 8)
    mask_T = torch.tensor([True, False, True, True, True, False])

    def output(x_TD: Tensor) -> Tensor:
        found: Tensor = layer(x_TD, RoutingContext(mask_T=mask_T)).output
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch.compile(output, fullgraph=True, backend="eager")(x_TD)
    torch.testing.assert_close(found, output(x_TD), rtol=1e-4, atol=1e-5)


SELECTORS = {
    "top_p": lambda: TopP(0.4),
    "relu": lambda: ReLU(4),
    "expert_choice": lambda: ExpertChoice(2),
    "threshold": lambda: Threshold(k=2),
    "sinkhorn": lambda: Sinkhorn(2, share=1.0),
    "mask_schedule": lambda: MaskSchedule(TopK(2), local=2, start=0, end=40),
}


class Chosen(nn.Module):
    """What a selector makes of its logits, as a number."""

    def __init__(self, selector: nn.Module) -> None:
        super().__init__()
        self.selector = selector

    def forward(self, logits_TE: Tensor, context: RoutingContext) -> Tensor:
        plan = self.selector(logits_TE, context)
        return (plan.weights_TE * torch.arange(1.0, logits_TE.shape[-1] + 1)).square().sum()


def trains_in_one_graph(block: nn.Module, width: int, padded: bool) -> None:
    """Three batches of other sizes and steps give what they give without a graph, which is traced once."""
    plain = copy.deepcopy(block)
    torch.compiler.reset()
    with warnings.catch_warnings(), torch._dynamo.config.patch(error_on_recompile=True):
        warnings.simplefilter("ignore")
        compiled = torch.compile(block, fullgraph=True, dynamic=True, backend="aot_eager")
        for tokens in (20, 33, 12):
            x_TD = torch.randn(tokens, width, requires_grad=True)
            mask_T = torch.arange(tokens) % 4 != 0 if padded else None
            context = RoutingContext(step=tokens, mask_T=mask_T)
            found, wanted = (
                [loss, *torch.autograd.grad(loss, [x_TD, *of.parameters()])]
                for of, loss in ((block, compiled(x_TD, context)), (plain, plain(x_TD, context)))
            )
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert update_biases(block) == update_biases(plain)
    for value, other in zip(block.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", list(SELECTORS))
def test_selectors_train_in_one_graph_for_batches_of_any_size(name: str, padded: bool) -> None:
    trains_in_one_graph(Chosen(SELECTORS[name]()), 4, padded)


@pytest.mark.slow
def test_balancers_train_in_one_graph_for_batches_of_any_size() -> None:
    balancers = [LossFreeBias(4), SwitchLoss(0.1), ZLoss(), EntropyLoss(0.1, until=0.9), L1Controller(1, start=0.1)]
    torch.manual_seed(0)
    layer = RoutedLayer(LinearGate(8, 4), TopK(2), FFN(4, 8, 8), balancers=balancers)
    trains_in_one_graph(Loss(layer), 8, padded=True)


@pytest.mark.slow
def test_running_means_move_in_a_graph() -> None:
    layer = RoutedLayer(ProductKeyGate(8, 4), TopK(2), FFN(4, 8, 8))
    trains_in_one_graph(Loss(layer), 8, padded=False)


@pytest.mark.slow
@pytest.mark.parametrize("inside", [False, True])
def test_a_recomputed_graph_counts_once(inside: bool) -> None:
    bias, select = LossFreeBias(4), Threshold(k=2)
    torch.manual_seed(0)
    layer = RoutedLayer(LinearGate(8, 4), select, FFN(4, 8, 8), balancers=[bias])

    def output(x_TD: Tensor) -> Tensor:
        found: Tensor = layer(x_TD).output
        return found

    def recomputed(x_TD: Tensor) -> Tensor:
        found: Tensor = checkpoint(output, x_TD, use_reentrant=False)
        return found

    x_TD = torch.randn(20, 8, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.compiler.reset()
        if inside:
            y_TM = torch.compile(recomputed, backend="aot_eager")(x_TD)
        else:
            y_TM = checkpoint(torch.compile(output, backend="aot_eager"), x_TD, use_reentrant=False)
        y_TM.sum().backward()
    assert int(bias.counts_E.sum()) == 40
    assert select.seen[1] == 1


@pytest.mark.slow
def test_exports_for_any_number_of_tokens() -> None:
    layer = layer_of().eval()

    class Output(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.layer(x).output
            return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokens = torch.export.Dim("tokens", min=2, max=4096)
        program = torch.export.export(Output(), (torch.randn(20, 8),), dynamic_shapes=({0: tokens},))
    for count in (20, 33):
        x_TD = torch.randn(count, 8)
        torch.testing.assert_close(program.module()(x_TD), layer(x_TD).output, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_gives_the_same_loss_and_counts_once(reentrant: bool) -> None:
    def run(checkpointed: bool) -> tuple[list[Tensor], int, list[int]]:
        bias, stats = LossFreeBias(4), RoutingStats()
        torch.manual_seed(0)
        layer = RoutedLayer(
            LinearGate(8, 4), TopK(2), FFN(4, 8, 8), balancers=[SwitchLoss(0.01), bias], statistics=stats
        )
        block, x_TD = Loss(layer), torch.linspace(-1, 1, 160).view(20, 8).requires_grad_()
        loss = checkpoint(block, x_TD, use_reentrant=reentrant) if checkpointed else block(x_TD)
        loss.backward()
        grads = [p.grad for p in block.parameters() if p.grad is not None]
        return [loss, x_TD.grad, *grads], stats.tokens, bias.counts_E.tolist()

    (found, tokens, counts), (wanted, *_), once = run(True), run(False), run(False)
    torch.testing.assert_close(found, wanted)
    assert (tokens, counts) == (20, once[2])
    assert sum(counts) == 40
