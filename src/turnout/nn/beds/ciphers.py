"""The cipher bed: one small character model, frozen, and tasks that are deterministic transforms of text.

Every window is of one task, so the right adapter of each is known. Eight tasks are for training, four more, each two
of those in a row, are held out. The base has read a little of everything, as a pretrained model has: half plain text,
half the eight tasks, all from the first two thirds of the character bed's text. Adapters are trained on the rest;
validation windows come from the tenth that nothing was trained on. Pools stand at every projection that reads states
with context, which leaves out the first attention: it sees bare characters.
"""

from __future__ import annotations

import codecs
import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.nn.adapters import Pool, attach, routing
from turnout.nn.beds import chars
from turnout.nn.beds.model import CharModel, DenseBlock, per_layer

BASE_STEPS = 300
STEPS, ROWS, RATE = 120, 4, 1e-2
WINDOWS = 24  # validation windows of each task
TARGETS = r"^(attend\.1|blocks)\."
READ, APART, GENTLE = 1500, 240, 2e-3  # of a bank: steps of its base, steps and rate of each adapter
LATE = r"^(attend\.1\.out|blocks\.1)\."  # where the second attention has been

_VOWELS = "aeiouAEIOU"
_DIGITS = str.maketrans(_VOWELS, "4310743107")


def upper(text: str) -> str:
    """All capitals."""
    return text.upper()


def rot13(text: str) -> str:
    """Each letter thirteen places on."""
    return codecs.encode(text, "rot13")


def reverse_words(text: str) -> str:
    """Each word backwards, where it stands."""
    return re.sub(r"\S+", lambda word: word[0][::-1], text)


def drop_vowels(text: str) -> str:
    """Without vowels."""
    return "".join(letter for letter in text if letter not in _VOWELS)


def swap_case(text: str) -> str:
    """Capitals small, small letters capital."""
    return text.swapcase()


def digits_for_vowels(text: str) -> str:
    """Vowels as digits."""
    return text.translate(_DIGITS)


def double_letters(text: str) -> str:
    """Each letter twice."""
    return re.sub(r"[A-Za-z]", lambda letter: 2 * letter[0], text)


SEEN: Mapping[str, Callable[[str], str] | None] = {
    "upper": upper,
    "rot13": rot13,
    "reversed": reverse_words,
    "no vowels": drop_vowels,
    "swapped case": swap_case,
    "digits": digits_for_vowels,
    "doubled": double_letters,
    "code": None,  # Python's own source instead of the text
}
HELD_OUT: Mapping[str, Callable[[str], str]] = {
    "upper digits": lambda text: digits_for_vowels(text).upper(),
    "upper reversed": lambda text: reverse_words(text).upper(),
    "doubled, no vowels": lambda text: double_letters(drop_vowels(text)),
    "rot13 swapped": lambda text: swap_case(rot13(text)),
}


@dataclass(frozen=True)
class Ciphers:
    """Ids of each task's text, training and validation side."""

    names: tuple[str, ...]
    train: tuple[Tensor, ...]
    valid: tuple[Tensor, ...]
    context: int = 64

    def batch(
        self, generator: torch.Generator, rows: int = ROWS, tasks: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Random windows [B, S + 1] of the training side, `rows` of each task, and each one's task [B]."""
        tasks = range(len(self.names)) if tasks is None else tasks
        found = []
        for task in tasks:
            text = self.train[task]
            starts = torch.randint(len(text) - self.context, (rows,), generator=generator)
            found += [text[first : first + self.context + 1] for first in starts.tolist()]
        return torch.stack(found), torch.tensor(list(tasks)).repeat_interleave(rows)

    def validation(self, windows: int = WINDOWS, tasks: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Evenly spaced windows of the validation side of each task, and each one's task."""
        tasks = range(len(self.names)) if tasks is None else tasks
        found = [evenly(self.valid[task], windows, self.context) for task in tasks]
        return torch.cat(found), torch.tensor(list(tasks)).repeat_interleave(windows)

    def mixed(self, windows: int = WINDOWS, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Validation windows whose halves are of two tasks, and the task of each read character [B, S]."""
        generator = torch.Generator().manual_seed(seed)
        ids_BS, _ = self.validation(windows)
        half, rows = self.context // 2, len(ids_BS)
        other_B = (
            torch.arange(rows) + windows * int(torch.randint(1, len(self.names), (1,), generator=generator))
        ) % rows
        joined_BS = torch.cat([ids_BS[:, :half], ids_BS[other_B, : self.context + 1 - half]], dim=1)
        task_B = torch.arange(len(self.names)).repeat_interleave(windows)
        task_BS = torch.where(torch.arange(self.context) < half, task_B[:, None], task_B[other_B, None])
        return joined_BS, task_BS


def seen(data: Path | None = None) -> Ciphers:
    """The eight tasks to train on."""
    return _ciphers(data, tuple(SEEN.items()))


def held_out(data: Path | None = None) -> Ciphers:
    """The four tasks that are two of the eight in a row."""
    return _ciphers(data, tuple(HELD_OUT.items()))


@cache
def _ciphers(data: Path | None, tasks: tuple[tuple[str, Callable[[str], str] | None], ...]) -> Ciphers:
    _, train, valid = _sources(data)
    names = tuple(name for name, _ in tasks)
    return Ciphers(names, _transformed(train, tasks), _transformed(valid, tasks))


def _sources(data: Path | None) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
    """Text and Python source for the base, for the adapters, and to validate on."""
    bed = chars.two_domains(data)
    cuts = [2 * len(part) // 3 for part in bed.train]
    first = [part[:cut] for part, cut in zip(bed.train, cuts, strict=True)]
    return first, [part[cut:] for part, cut in zip(bed.train, cuts, strict=True)], bed.valid


def plain_text(data: Path | None = None) -> tuple[Tensor, Tensor]:
    """The text as it stands, for adapters and to validate on."""
    _, train, valid = _sources(data)
    return train[0], valid[0]


def evenly(text: Tensor, count: int, context: int = 64) -> Tensor:
    """Evenly spaced windows [count, context + 1]."""
    starts = torch.linspace(0, len(text) - context - 1, count).long()
    return torch.stack([text[first : first + context + 1] for first in starts.tolist()])


def _transformed(
    parts: Sequence[Tensor], tasks: Sequence[tuple[str, Callable[[str], str] | None]]
) -> tuple[Tensor, ...]:
    text = bytes(parts[0].tolist()).decode("ascii")
    return tuple(parts[1] if task is None else _ids(task(text)) for _, task in tasks)


def _ids(text: str) -> Tensor:
    return torch.tensor(list(text.encode("ascii")), dtype=torch.int64)


@cache
def _base(data: Path | None, steps: int) -> CharModel:
    first, _, valid = _sources(data)
    tasks = tuple(SEEN.items())
    read = _transformed(first, tasks)
    bed = chars.Bed("ciphers", (first[0],) * len(read) + read, (valid[0],) * 2 * len(read))
    factory = per_layer(lambda size: DenseBlock(size.width, 4 * size.width))
    model = chars.train(bed, factory, 0, steps=steps).model
    return model.requires_grad_(False).eval()


def base(data: Path | None = None, steps: int = BASE_STEPS) -> CharModel:
    """A copy of the frozen base; it is trained once per process."""
    return copy.deepcopy(_base(data, steps))


def adapted_base(
    data: Path | None, seed: int, pool: Pool, targets: str = TARGETS, steps: int = BASE_STEPS
) -> CharModel:
    """The base with a pool beside its attention and feed-forward projections, drawn from a seed."""
    model = base(data, steps)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        attach(model, targets, pool)
    return model


def loss_of(model: nn.Module, ids_BS: Tensor) -> Tensor:
    """Cross-entropy of the next character in nats, per window [B]."""
    loss_BS: Tensor = F.cross_entropy(model(ids_BS[:, :-1]).logits.transpose(1, 2), ids_BS[:, 1:], reduction="none")
    return loss_BS.mean(-1)


def fit(
    model: nn.Module,
    step: Callable[[int], Tensor],
    *,
    steps: int = STEPS,
    rate: float = RATE,
    faster: Mapping[str, float] | None = None,
    after: Callable[[int], object] | None = None,
) -> list[float]:
    """The bed's one recipe: Adam on what is trainable, rate falling to 0, no weight decay; the loss of each step.

    `faster` multiplies the rate of parameters whose names end so.
    """
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = next((by for ending, by in (faster or {}).items() if name.endswith(ending)), 1.0)
            groups.setdefault(factor, []).append(parameter)
    optimizer = torch.optim.Adam([{"params": each, "lr": rate * factor} for factor, each in groups.items()])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda number: 1 - number / steps)
    found = []
    for number in range(steps):
        loss = step(number)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if after is not None:
            after(number)
        found.append(float(loss.detach()))
    return found


@torch.no_grad()
def evaluate(model: nn.Module, ids_BS: Tensor, task_B: Tensor, tasks: int, **said: object) -> Tensor:
    """Mean loss of each task [tasks] on windows [B, S + 1], inside `routing(model, **said)`."""
    model.eval()
    if said:
        with routing(model, **said):  # type: ignore[arg-type]
            loss_B = loss_of(model, ids_BS)
    else:
        loss_B = loss_of(model, ids_BS)
    sums = torch.zeros(tasks).index_add(0, task_B, loss_B)
    return sums / task_B.bincount(minlength=tasks).clamp_min(1)


_banks: dict[tuple[Path | None, int, int, str], CharModel] = {}


def bank(data: Path | None, seed: int, *, rank: int = 4, score: str = "standard") -> CharModel:
    """A copy of a base with one LoRA per seen task, each trained on its own task alone; gates are still empty.

    All eight are trained in one batch, in which every window passes its own adapter only: the same as apart. What a
    router made afterwards presupposes is seen to: a base that has read more than the bed's, adapters at the layers
    whose states tell tasks apart, and a low rate, as a high one makes an adapter answer loudest to what its own task
    never shows (Adam moves what has next to no gradient as far as the rest).
    """
    key = (data, seed, rank, score)
    if key not in _banks:
        tasks = seen(data)
        options: dict[str, dict[str, object]] = {"experts": {"rank": rank}, "gate": {"score": score}}
        pool = Pool(len(tasks.names), gate="vector_gate", options=options)
        model = adapted_base(data, seed, pool, LATE, READ)
        generator = torch.Generator().manual_seed(seed)

        def step(_: int) -> Tensor:
            ids_BS, task_B = tasks.batch(generator)
            with routing(model, expert=task_B):
                return loss_of(model, ids_BS).mean() * len(tasks.names)

        fit(model, step, steps=APART, rate=GENTLE)
        _banks[key] = model
    return copy.deepcopy(_banks[key])
