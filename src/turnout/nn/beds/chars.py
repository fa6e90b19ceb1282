"""The character bed: next-character prediction on one text, or on two domains of text.

The text is `text/tinyshakespeare.txt` of the folder of tables (TURNOUT_DATA), else the topics of Python's own help; the
second domain is the source of Python's standard library, read where it is installed. Split by position: the last tenth
validates. One recipe for every variant: AdamW, warm-up and cosine. The bed itself was sized on one seed of two
baselines, so that a dense block and a learned gate can be told apart in seconds; no setting of a system was chosen on
it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turnout.nn.balancers.loss_free_bias import LossFreeBias
from turnout.nn.balancers.switch_loss import SwitchLoss
from turnout.nn.base import Balancer, Experts, Gate, Selector
from turnout.nn.beds.model import CharModel, DenseBlock, Factory, Passed, Size, per_layer
from turnout.nn.experts.ffn import FFN
from turnout.nn.gates.linear_gate import LinearGate
from turnout.nn.layer import RoutedLayer, update_biases
from turnout.nn.plan import Plan, RoutingContext
from turnout.nn.selectors.random_choice import RandomChoice
from turnout.nn.selectors.top_k import TopK
from turnout.nn.statistics import Trace, dead_experts, experts_per_token, max_violation

EXPERTS, CHOSEN, HIDDEN = 16, 2, 32
STEPS, BATCH, RATE = 200, 16, 6e-3
LIMIT = 1_000_000  # characters of a domain
WINDOWS = 128  # of validation, all domains together


@dataclass(frozen=True)
class Bed:
    """Texts as ids (bytes; `?` for what is not ASCII), one per domain, split by position."""

    name: str
    train: tuple[Tensor, ...]
    valid: tuple[Tensor, ...]
    size: Size = field(default_factory=Size)

    def batch(self, generator: torch.Generator, rows: int = BATCH) -> tuple[Tensor, Tensor]:
        """Random windows [rows, S + 1] of the training side, and each row's domain; domains take turns."""
        domain_B = torch.arange(rows) % len(self.train)
        span = self.size.context + 1
        starts = torch.rand(rows, generator=generator)
        found = []
        for start, domain in zip(starts.tolist(), domain_B.tolist(), strict=True):
            text = self.train[domain]
            first = int(start * (len(text) - span))
            found.append(text[first : first + span])
        return torch.stack(found), domain_B

    def validation(self, windows: int | None = None) -> tuple[Tensor, Tensor]:
        """Evenly spaced windows [windows, S + 1] of the validation side, and each row's domain."""
        span, each = self.size.context + 1, (windows or WINDOWS) // len(self.valid)
        rows = [
            text[first : first + span]
            for text in self.valid
            for first in torch.linspace(0, len(text) - span, each).long().tolist()
        ]
        return torch.stack(rows), torch.arange(len(self.valid)).repeat_interleave(each)


@dataclass
class Trained:
    """A trained model and what it did on the validation windows.

    `loss` is in nats per character; `loss_BS` per position, `ids_BS` and `domain_B` what was read; `plans` hold each
    layer's choice for these B·S tokens (None for a dense block), `snapshots` the same at earlier steps.
    """

    model: CharModel
    loss: float
    loss_BS: Tensor
    ids_BS: Tensor
    domain_B: Tensor
    plans: tuple[Plan | None, ...]
    seconds: float
    snapshots: dict[int, tuple[Plan | None, ...]] = field(default_factory=dict)

    @property
    def counts(self) -> list[Tensor]:
        """Rows per expert, one tensor per routed layer."""
        return [plan.counts_E for plan in self.plans if plan is not None]

    @property
    def traces(self) -> list[Trace]:
        """What statistics read, one per routed layer."""
        return traces(self.plans, self.ids_BS, self.domain_B)

    @property
    def active(self) -> float:
        """Experts per token, mean over layers."""
        found = [experts_per_token(trace) for trace in self.traces]
        return sum(found) / max(1, len(found))

    @property
    def violation(self) -> float:
        """Largest load over mean load, less one; mean over layers."""
        found = [max_violation(counts) for counts in self.counts]
        return sum(found) / max(1, len(found))

    @property
    def dead(self) -> int:
        """Experts that no validation token goes to, over all layers."""
        return sum(dead_experts(counts) for counts in self.counts)


def traces(plans: Sequence[Plan | None], ids_BS: Tensor, domain_B: Tensor) -> list[Trace]:
    """Plans over windows [B, S] as traces, with characters, windows and domains."""
    batch, length = ids_BS.shape
    where = {
        "sequence_T": torch.arange(batch).repeat_interleave(length),
        "token_T": ids_BS.reshape(-1),
        "task_T": domain_B.repeat_interleave(length),
    }
    return [Trace.of_plan(plan, **where) for plan in plans if plan is not None]


Objective = Callable[[CharModel, Tensor, RoutingContext], tuple[Tensor, Passed]]
"""The task's loss on windows [B, S + 1], without balancing losses, and the pass it comes from."""


def next_char(model: CharModel, ids_BS: Tensor, context: RoutingContext) -> tuple[Tensor, Passed]:
    """Cross-entropy of the next character."""
    passed = model(ids_BS[:, :-1], context)
    return F.cross_entropy(passed.logits.flatten(0, 1), ids_BS[:, 1:].flatten()), passed


def train(
    bed: Bed,
    factory: Factory,
    seed: int,
    *,
    steps: int | None = None,
    objective: Objective = next_char,
    causal: bool = True,
    attention: bool = False,
    snapshots: Sequence[int] = (),
    after: Callable[[CharModel, int], None] | None = None,
) -> Trained:
    """Train a model with blocks of `factory` and look at it on the validation windows.

    `snapshots` are steps at which the validation windows are routed too; `after` is called after each step.
    """
    began, steps = time.process_time(), steps or STEPS
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CharModel(bed.size, factory, causal=causal, attention=attention).to(device)
        generator = torch.Generator(device).manual_seed(seed)
        draws = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
        kept: dict[int, tuple[Plan | None, ...]] = {}
        model.train()
        for step in range(steps):
            ids_BS, domain_B = bed.batch(draws)
            task_T = domain_B.repeat_interleave(bed.size.context).to(device)
            context = RoutingContext(step=step, task_T=task_T, generator=generator)
            loss, passed = objective(model, ids_BS.to(device), context)
            total = loss + sum(passed.losses.values())
            optimizer.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            update_biases(model)
            if after is not None:
                after(model, step)
            if step + 1 in snapshots:
                kept[step + 1] = evaluate(bed, model, seed).plans
                model.train()
        found = evaluate(bed, model, seed)
    found.seconds, found.snapshots = time.process_time() - began, kept
    return found


@torch.no_grad()
def evaluate(bed: Bed, model: CharModel, seed: int = 0, ids_BS: Tensor | None = None) -> Trained:
    """The model on the validation windows, or on other windows [B, S + 1] of the same places (corrupted ones, say)."""
    model.eval()
    device = model.place.device
    read_BS, domain_B = bed.validation()
    target_BS = read_BS[:, 1:].to(device)
    ids_BS = (read_BS if ids_BS is None else ids_BS)[:, :-1].to(device)
    task_T = domain_B.repeat_interleave(bed.size.context).to(device)
    context = RoutingContext(task_T=task_T, generator=torch.Generator(device).manual_seed(seed))
    passed = model(ids_BS, context)
    loss_BS = F.cross_entropy(passed.logits.transpose(1, 2), target_BS, reduction="none")
    return Trained(model, float(loss_BS.mean()), loss_BS, ids_BS, domain_B, passed.plans, 0.0)


def _rate(step: int, steps: int) -> float:
    warm = max(1, min(30, steps // 5))
    if step < warm:
        return (step + 1) / warm
    return 0.1 + 0.45 * (1 + torch.cos(torch.tensor(torch.pi * (step - warm) / max(1, steps - warm))).item())


def one_domain(data: Path | None = None) -> Bed:
    """The text alone."""
    text, name = _text(_folder(data))
    return _bed(f"characters of {name}", text)


def two_domains(data: Path | None = None) -> Bed:
    """The text, and Python source."""
    text, name = _text(_folder(data))
    return _bed(f"characters of {name} and Python source", text, _source())


def _bed(name: str, *texts: Tensor) -> Bed:
    cuts = [int(0.9 * len(text)) for text in texts]
    return Bed(
        name,
        tuple(text[:cut] for text, cut in zip(texts, cuts, strict=True)),
        tuple(text[cut:] for text, cut in zip(texts, cuts, strict=True)),
    )


def _folder(data: Path | None) -> Path | None:
    named = data or os.environ.get("TURNOUT_DATA")
    return Path(named).expanduser() if named else None


@cache
def _text(folder: Path | None) -> tuple[Tensor, str]:
    file = folder / "text" / "tinyshakespeare.txt" if folder else None
    if file is not None and file.is_file():
        return _ids(file.read_text(encoding="utf-8")), "tinyshakespeare"
    from pydoc_data.topics import topics

    return _ids("\n".join(topics[name] for name in sorted(topics))), "Python's help"


@cache
def _source() -> Tensor:
    files = sorted(Path(os.__file__).parent.glob("[a-z]*.py"))
    texts, size = [], 0
    for file in files:
        if size > LIMIT:
            break
        texts.append(file.read_text(encoding="utf-8", errors="replace"))
        size += len(texts[-1])
    return _ids("\n".join(texts))


def _ids(text: str) -> Tensor:
    return torch.tensor(list(text[:LIMIT].encode("ascii", errors="replace")), dtype=torch.int64)


def routed(
    selector: Callable[[], Selector],
    balancers: Callable[[], Sequence[Balancer]] = tuple,
    *,
    pool: Callable[[Size], Experts] | None = None,
    gate: Callable[[Size, Experts], Gate] | None = None,
) -> Factory:
    """The bed's routed block: a linear gate and 16 experts of 32 hidden units unless told otherwise."""

    def block(size: Size) -> nn.Module:
        experts = pool(size) if pool else ffn(size)
        scores = gate(size, experts) if gate else LinearGate(size.width, experts.experts)
        return RoutedLayer(scores, selector(), experts, balancers=balancers())

    return per_layer(block)


def ffn(size: Size, experts: int = EXPERTS, hidden: int = HIDDEN, activation: str = "gelu") -> FFN:
    """The bed's experts."""
    return FFN(experts, size.width, hidden, activation=activation, gated=False)


BASELINES: dict[str, Factory] = {
    "dense": per_layer(lambda size: DenseBlock(size.width, CHOSEN * HIDDEN)),
    "random 2": routed(lambda: RandomChoice(CHOSEN)),
    "top-2 + switch": routed(lambda: TopK(CHOSEN), lambda: [SwitchLoss(0.01)]),
    "top-2 + loss-free": routed(lambda: TopK(CHOSEN, score="sigmoid"), lambda: [LossFreeBias(EXPERTS, 0.01)]),
    "top-2, no balancer": routed(lambda: TopK(CHOSEN)),
}
"""What every system on this bed is compared with, at equal active parameters (2 · 32 hidden units a token)."""

_cached: dict[tuple[str, str, int, int], Trained] = {}


def baseline(bed: Bed, name: str, seed: int, times: int = 1) -> Trained:
    """A baseline by name, trained once per process, for so many times the usual steps.

    Its snapshot is at nine tenths of the steps.
    """
    steps = times * STEPS
    key = (bed.name, name, seed, steps)
    if key not in _cached:
        _cached[key] = train(bed, BASELINES[name], seed, steps=steps, snapshots=(steps * 9 // 10,))
    return _cached[key]


def corrupted(ids_BS: Tensor, share: float = 0.05, seed: int = 0) -> Tensor:
    """The same windows with a share of the characters replaced by others drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    hit_BS = torch.rand(ids_BS.shape, generator=generator) < share
    pick_BS = torch.randint(ids_BS.numel(), ids_BS.shape, generator=generator)
    return torch.where(hit_BS.to(ids_BS.device), ids_BS.flatten()[pick_BS.to(ids_BS.device)], ids_BS)
