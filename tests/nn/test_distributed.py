"""Two gloo processes give the loss of one: replicated (DDP), sharded (FSDP), and the loss-free bias over both."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn

from turnout.nn import FFN, LinearGate, LossFreeBias, OutputOnly, RoutedLayer, TopK, update_biases

pytestmark = pytest.mark.skipif(not distributed.is_available(), reason="torch without distributed")


def model() -> nn.Module:
    torch.manual_seed(0)
    layer = RoutedLayer(LinearGate(8, 4), TopK(2, normalize=False), FFN(4, 8, 8), balancers=[LossFreeBias(4, rate=0.1)])
    return nn.Sequential(nn.Linear(8, 8), OutputOnly(layer), nn.Linear(8, 1))


def data() -> Tensor:
    drawn_TD = torch.randn(16, 8, generator=torch.Generator().manual_seed(1))
    return drawn_TD + torch.linspace(-1, 1, 16)[:, None]  # no part is like another


def steps(module: nn.Module, x_TD: Tensor, parts: int = 1) -> list[float]:
    """Losses of three steps of SGD on the mean over the given tokens, gathered over so many micro-batches."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    found = []
    for _ in range(3):
        total = 0.0
        for part in x_TD.chunk(parts):
            loss = module(part).square().mean() / parts
            loss.backward()
            total += float(loss.detach())
        optimizer.step()
        optimizer.zero_grad()
        update_biases(module)
        found.append(total)
    return found


def worker(rank: int, how: str, parts: int, folder: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    module = model()
    if how == "ddp":
        wrapped: nn.Module = nn.parallel.DistributedDataParallel(module)
    else:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        wrapped = fully_shard(module, mesh=init_device_mesh("cpu", (2,)))
    losses = torch.tensor(steps(wrapped, data()[8 * rank : 8 * rank + 8], parts))
    distributed.all_reduce(losses)
    bias = next(part for part in module.modules() if isinstance(part, LossFreeBias)).bias
    if rank == 0:
        torch.save((losses / 2, bias), Path(folder) / "found.pt")
    distributed.destroy_process_group()
    os._exit(0)  # gloo's threads outlive the group, and one still running when Python is torn down aborts the process


@pytest.mark.slow
@pytest.mark.parametrize(("how", "parts"), [("ddp", 1), ("ddp", 2), ("fsdp", 2)])
def test_two_processes_give_the_losses_of_one(how: str, parts: int, tmp_path: Path) -> None:
    """With two micro-batches a step DDP sends the first process's buffers to all between them."""
    torch.multiprocessing.spawn(worker, args=(how, parts, str(tmp_path)), nprocs=2)
    losses, bias = torch.load(tmp_path / "found.pt")
    alone = model()
    wanted = steps(alone, data(), parts)
    torch.testing.assert_close(losses, torch.tensor(wanted), rtol=1e-4, atol=1e-6)
    own = next(part for part in alone.modules() if isinstance(part, LossFreeBias)).bias
    torch.testing.assert_close(bias, own)
    assert own.any()
    assert wanted[2] < wanted[0]
