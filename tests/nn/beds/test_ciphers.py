"""The cipher bed: its transforms, its windows, and training of adapters apart."""

from __future__ import annotations

import pytest
import torch

from turnout.nn.adapters import Pool, adapted, routing
from turnout.nn.beds import ciphers

LINE = "O Romeo, wherefore art thou?"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("upper", "O ROMEO, WHEREFORE ART THOU?"),
        ("rot13", "B Ebzrb, jurersber neg gubh?"),
        ("reversed", "O ,oemoR eroferehw tra ?uoht"),
        ("no vowels", " Rm, whrfr rt th?"),
        ("swapped case", "o rOMEO, WHEREFORE ART THOU?"),
        ("digits", "0 R0m30, wh3r3f0r3 4rt th07?"),
        ("doubled", "OO RRoommeeoo, wwhheerreeffoorree aarrtt tthhoouu?"),
    ],
)
def test_transforms(name: str, expected: str) -> None:
    transform = ciphers.SEEN[name]
    assert transform is not None
    assert transform(LINE) == expected


def test_held_out_tasks_are_two_in_a_row() -> None:
    assert ciphers.HELD_OUT["upper reversed"](LINE) == ciphers.upper(ciphers.reverse_words(LINE))
    assert set(ciphers.HELD_OUT).isdisjoint(ciphers.SEEN)


def test_windows_are_of_their_task() -> None:
    tasks = ciphers.seen()
    assert len(tasks.names) == 8
    ids_BS, task_B = tasks.batch(torch.Generator().manual_seed(0), 3)
    assert tuple(ids_BS.shape) == (24, 65)
    assert task_B.tolist() == [task for task in range(8) for _ in range(3)]
    capitals = bytes(ids_BS[task_B == 0].flatten().tolist()).decode()
    assert capitals == capitals.upper()
    again, _ = tasks.batch(torch.Generator().manual_seed(0), 3)
    assert torch.equal(ids_BS, again)
    some, of = tasks.validation(2, [3, 5])
    assert tuple(some.shape) == (4, 65)
    assert of.tolist() == [3, 3, 5, 5]


def test_mixed_windows_are_of_two_tasks() -> None:
    ids_BS, task_BS = ciphers.seen().mixed(2)
    assert tuple(ids_BS.shape) == (16, 65)
    assert (task_BS[:, 0] != task_BS[:, -1]).all()
    assert all(len(set(row.tolist())) == 2 for row in task_BS)


def test_training_and_validation_text_are_apart() -> None:
    tasks = ciphers.seen()
    assert bytes(tasks.valid[0][:200].tolist()) not in bytes(tasks.train[0].tolist())


def test_adapters_learn_their_own_task_on_an_untrained_base() -> None:
    tasks = ciphers.seen()
    pool = Pool(8, options={"experts": {"rank": 2}})
    model = _untrained(pool)
    generator = torch.Generator().manual_seed(0)

    def step(_: int) -> torch.Tensor:
        ids_BS, task_B = tasks.batch(generator, 1)
        with routing(model, expert=task_B):
            return ciphers.loss_of(model, ids_BS).mean()

    found = ciphers.fit(model, step, steps=8)
    assert found[-1] < found[0]
    assert all(bool(layer.layer.experts.lora_B.any(-1).any(-1).all()) for layer in adapted(model).values())
    ids_BS, task_B = tasks.validation(2)
    loss = ciphers.evaluate(model, ids_BS, task_B, 8, expert=task_B)
    assert tuple(loss.shape) == (8,)
    assert bool((loss > 0).all())


def _untrained(pool: Pool) -> torch.nn.Module:
    from turnout.nn.adapters import attach
    from turnout.nn.beds.model import CharModel, DenseBlock, Size, per_layer

    torch.manual_seed(0)
    model = CharModel(Size(width=16, heads=2), per_layer(lambda size: DenseBlock(size.width, 32)))
    assert list(attach(model, ciphers.TARGETS, pool)) == [
        "attend.1.qkv",
        "attend.1.out",
        "blocks.0.up",
        "blocks.0.down",
        "blocks.1.up",
        "blocks.1.down",
    ]
    return model
