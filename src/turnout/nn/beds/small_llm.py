"""The small-LLM bed: SmolLM2-135M, frozen, and eight LoRA in its last layers, each trained apart on its own task.

Only the last layers are adapted, so what the layers below make of a chat never changes: it is computed once for each
chat and kept, and a step of training or a variant's measurement passes through the last layers alone. Weights and
passes are bfloat16, as the model was published; adapters, gates, head and losses are float32.

Shape letters beside the room's: A answer tokens of a batch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from turnout.nn import VectorGate
from turnout.nn.adapters import Pool, adapted, arrow_gates, attach, fit_gates, mean_gates, routing
from turnout.nn.beds import questions
from turnout.nn.beds.ciphers import fit
from turnout.nn.beds.posthoc import SCORES, GlobalView, add_global
from turnout.nn.beds.questions import HELD_OUT, SEEN, Chat, Question

NAME = "smollm2-135m"


@dataclass(frozen=True)
class Recipe:
    """What is settled once for all seeds: how many layers are adapted and where, and how much is trained."""

    layers: int = 8
    targets: str = r"(up_proj|down_proj)$"
    rank: int = 8
    train: int = 64
    asked: int = 24
    rows: int = 8
    epochs: int = 5
    rate: float = 3e-3
    gate_steps: int = 100
    gate_rows: int = 2
    gate_rate: float = 5e-3


RECIPE = Recipe()


class Read(NamedTuple):
    """A batch of chats as the frozen layers leave them, padded on the right.

    `at_BS` is True where the next token is of the answer, `next_A` are those tokens, in that order.
    """

    hidden_BSD: Tensor
    mask_BS: Tensor
    at_BS: Tensor
    next_A: Tensor

    def rows(self) -> Tensor:
        """Which chat each answer token is of: [A]."""
        return torch.arange(len(self.at_BS)).repeat_interleave(self.at_BS.sum(-1))


class Late(nn.Module):
    """The last layers of a Llama with its norm and head: a `Read` → logits [A, V] of the answer tokens."""

    def __init__(self, model: Any, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(list(model.model.layers)[-layers:])
        self.norm, self.rotary = model.model.norm, model.model.rotary_emb
        self.head = nn.Linear(model.config.hidden_size, model.config.vocab_size, bias=False)
        self.head.weight.data = model.get_output_embeddings().weight.detach().float()

    def forward(self, read: Read) -> Tensor:
        """[A, V] in float32."""
        x_BSD = passed(self.layers, self.rotary, read.hidden_BSD)
        logits_AV: Tensor = self.head(self.norm(x_BSD)[read.at_BS].float())
        return logits_AV


def passed(layers: Sequence[Any] | nn.ModuleList, rotary: Any, x_BSD: Tensor) -> Tensor:
    """Through some layers of a Llama; padding on the right needs no mask of its own, as nothing looks ahead."""
    length = x_BSD.shape[1]
    position_1S = torch.arange(length)[None]
    embedded = rotary(x_BSD, position_ids=position_1S)
    ahead_SS = torch.full((length, length), torch.finfo(x_BSD.dtype).min, dtype=x_BSD.dtype).triu(1)
    for layer in layers:
        x_BSD = layer(x_BSD, attention_mask=ahead_SS[None, None], position_embeddings=embedded, use_cache=False)
    return x_BSD


@dataclass
class Early:
    """The layers below, and the tokenizer: what turns questions into `Read` batches."""

    tokenizer: Any
    embed: nn.Module
    layers: Sequence[nn.Module]
    rotary: nn.Module

    @torch.no_grad()
    def read(self, asked: Sequence[Question], rows: int = 16) -> list[tuple[Tensor, Chat]]:
        """Each chat, and what the layers make of it [S, D]; chats of like length pass together."""
        chats = questions.chats(self.tokenizer, asked)
        order = sorted(range(len(chats)), key=lambda number: len(chats[number].ids_S))
        found: dict[int, Tensor] = {}
        for first in range(0, len(order), rows):
            chosen = order[first : first + rows]
            ids_BS = pad_sequence([chats[number].ids_S for number in chosen], batch_first=True)
            hidden_BSD = passed(self.layers, self.rotary, self.embed(ids_BS))
            for number, hidden_SD in zip(chosen, hidden_BSD, strict=True):
                found[number] = hidden_SD[: len(chats[number].ids_S)].clone()
        return [(found[number], chat) for number, chat in enumerate(chats)]


def batch(chosen: Sequence[tuple[Tensor, Chat]]) -> Read:
    """Several chats in one `Read`."""
    hidden_BSD = pad_sequence([hidden_SD for hidden_SD, _ in chosen], batch_first=True)
    at_BS = torch.zeros(hidden_BSD.shape[:2], dtype=torch.bool)
    mask_BS = torch.zeros_like(at_BS)
    for at_S, mask_S, (_, chat) in zip(at_BS, mask_BS, chosen, strict=True):
        length = len(chat.ids_S)
        at_S[length - 1 - chat.answer : length - 1] = True
        mask_S[:length] = True
    return Read(hidden_BSD, mask_BS, at_BS, torch.cat([chat.ids_S[-chat.answer :] for _, chat in chosen]))


def loss_of(model: nn.Module, read: Read) -> Tensor:
    """Cross-entropy of the answer tokens in nats."""
    return F.cross_entropy(model(read), read.next_A)


class Scored(NamedTuple):
    """Nats per answer token, the share of answers that are right to the last token, and of experts that are."""

    loss: float
    exact: float
    right: float


@dataclass
class Bank:
    """A seed's adapters and all that is asked of them: batches by task, train and asked, of seen and held-out tasks.

    `vectors` are the gates of each kind by layer, as they were fitted.
    """

    late: Late
    train: list[list[tuple[Tensor, Chat]]]
    seen: list[Read]
    held_out: list[Read]
    view: GlobalView
    texts: dict[str, list[list[str]]]
    recipe: Recipe
    seed: int
    vectors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    scored: dict[tuple[str, str, int, tuple[float, float]], Scored] = field(default_factory=dict)

    @property
    def experts(self) -> int:
        """How many adapters, which is how many seen tasks."""
        return len(self.train)

    def draws(self, purpose: int) -> torch.Generator:
        """Random numbers of this seed for one purpose."""
        return torch.Generator().manual_seed(1000 * purpose + self.seed)


@cache
def _loaded() -> tuple[Any, Any]:
    from turnout.nn.hub import load_local

    model, tokenizer = load_local(NAME, dtype=torch.bfloat16)
    model.set_attn_implementation("eager")  # torch's fused attention takes four times as long, on a CPU in bfloat16
    return model.requires_grad_(False), tokenizer


def made(model: Any, tokenizer: Any, seed: int, recipe: Recipe = RECIPE) -> Bank:
    """Adapters of a seed beside the last layers of a Llama, each trained on its own task's questions alone."""
    early = Early(
        tokenizer, model.model.embed_tokens, list(model.model.layers)[: -recipe.layers], model.model.rotary_emb
    )
    seen = questions.drawn(SEEN, seed, recipe.train, recipe.asked)
    held_out = questions.drawn(HELD_OUT, seed, 0, recipe.asked)
    late = Late(copy.deepcopy(model), recipe.layers)
    options: dict[str, dict[str, Any]] = {"experts": {"rank": recipe.rank}}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        attach(late, recipe.targets, Pool(len(SEEN), gate="vector_gate", options=options))
    trained = [[one.prompt for one in task] for task in seen.train]
    asked = {"seen": seen.asked, "held out": held_out.asked}
    bank = Bank(
        late,
        train=[early.read(task) for task in seen.train],
        seen=[batch(early.read(task)) for task in seen.asked],
        held_out=[batch(early.read(task)) for task in held_out.asked],
        view=GlobalView([" ".join(texts) for texts in trained], [text for texts in trained for text in texts]),
        texts={side: [[one.prompt for one in task] for task in tasks] for side, tasks in asked.items()},
        recipe=recipe,
        seed=seed,
    )
    generator = bank.draws(1)
    for expert in range(bank.experts):
        _train(bank, expert, generator)
    return bank


def _train(bank: Bank, expert: int, generator: torch.Generator) -> None:
    """One adapter on its own chats; what no gradient reaches, Adam leaves where it is."""
    recipe, chats = bank.recipe, bank.train[expert]
    steps = recipe.epochs * len(chats) // recipe.rows
    batches = _batches(chats, recipe.rows, steps, generator)

    def step(_: int) -> Tensor:
        with routing(bank.late, expert=expert):
            return loss_of(bank.late, batch(next(batches)))

    fit(bank.late, step, steps=steps, rate=recipe.rate)


def _batches(
    chats: Sequence[tuple[Tensor, Chat]], rows: int, steps: int, generator: torch.Generator
) -> Iterator[list[tuple[Tensor, Chat]]]:
    """`steps` times so many random chats, every chat once before any comes again."""
    order: list[int] = []
    for _ in range(steps):
        if len(order) < rows:
            order += torch.randperm(len(chats), generator=generator).tolist()
        chosen, order = order[:rows], order[rows:]
        yield [chats[number] for number in chosen]


def gated(bank: Bank, kind: str) -> Late:
    """The model with gates made by `phatgoose`, `arrow` or `mean`; each kind is made once."""
    gates = {name: layer.layer.gate for name, layer in adapted(bank.late).items()}
    for gate in gates.values():
        assert isinstance(gate, VectorGate)
        gate.score = SCORES[kind]
        gate.vectors.data.zero_()
    if kind not in bank.vectors:
        _make(bank, kind)
        bank.vectors[kind] = {name: gate.vectors.detach().clone() for name, gate in gates.items()}  # type: ignore[operator]
    for name, gate in gates.items():
        gate.vectors.data.copy_(bank.vectors[kind][name])  # type: ignore[operator]
    return bank.late


def _make(bank: Bank, kind: str) -> None:
    recipe, generator = bank.recipe, bank.draws(2)
    if kind == "arrow":
        arrow_gates(bank.late)
    elif kind == "mean":
        owned = [(expert, batch(chats[: recipe.asked])) for expert, chats in enumerate(bank.train)]
        mean_gates(bank.late, owned, _masked)
    else:
        expert_B = torch.arange(bank.experts).repeat_interleave(recipe.gate_rows)
        drawn = [_batches(chats, recipe.gate_rows, recipe.gate_steps, generator) for chats in bank.train]
        batches = ((expert_B, batch([one for chosen in each for one in chosen])) for each in zip(*drawn, strict=True))
        fit_gates(bank.late, batches, partial(_summed, rows=recipe.gate_rows), rate=recipe.gate_rate)


def _summed(model: nn.Module, read: Read, rows: int) -> Tensor:
    """The sum over tasks of each one's loss, `rows` chats a task: to an expert's gate the same as its task alone."""
    task_A = read.rows() // rows
    loss_A = F.cross_entropy(model(read), read.next_A, reduction="none")
    return (loss_A / task_A.bincount()[task_A]).sum()


def _masked(model: nn.Module, read: Read) -> Tensor:
    with routing(model, mask=read.mask_BS):
        logits_AV: Tensor = model(read)
    return logits_AV


def measured(name: str, seed: int, *, high: float, low: float) -> Mapping[str, float]:
    """A variant on the questions of a seed; see `figures`. Trains the seed's adapters where it is a new one."""
    if seed not in _banks:
        questions.gym()  # what is missing is said before the model is read
        _banks.clear()  # a bank holds hundreds of megabytes
        _banks[seed] = made(*_loaded(), seed)
    return figures(_banks[seed], name, high=high, low=low)


_banks: dict[int, Bank] = {}


def figures(bank: Bank, name: str, *, high: float = 100.0, low: float = 3.0) -> Mapping[str, float]:
    """Means over tasks: nats per answer token, share of whole answers that greedy decoding gives, right experts.

    An answer is greedily decoded exactly where every token of it is the likeliest after those before it, which one
    pass tells. The right expert is counted over layers and answer tokens. The oracle of a held-out task is the adapter
    that is best for it in hindsight.
    """
    weights = (high, low)
    tasks, others = range(bank.experts), range(len(bank.held_out))
    loss, exact, right = _means([_scored(bank, name, "seen", task, weights) for task in tasks])
    oracle, _, _ = _means([_scored(bank, "oracle", "seen", task, weights) for task in tasks])
    other, other_exact, _ = _means([_scored(bank, name, "held out", task, weights) for task in others])
    return {
        "loss": loss,
        "over the oracle": loss / oracle - 1,
        "exact": exact,
        "right expert": right,
        "held-out loss": other,
        "held-out exact": other_exact,
    }


def _means(found: Sequence[Scored]) -> Scored:
    return Scored(*(sum(each) / len(each) for each in zip(*found, strict=True)))


def _scored(bank: Bank, name: str, side: str, task: int, weights: tuple[float, float]) -> Scored:
    """One task under one variant; what was measured before is not measured again."""
    key = (name, side, task, weights)
    if key not in bank.scored:
        read = (bank.seen if side == "seen" else bank.held_out)[task]
        if name == "oracle":
            tried = [task] if side == "seen" else range(bank.experts)
            bank.scored[key] = min(_asked(bank.late, read, expert, expert=expert) for expert in tried)
        else:
            with _routed(bank, name, bank.texts[side][task], weights) as hand:
                bank.scored[key] = _asked(bank.late, read, task, **hand)
    return bank.scored[key]


@contextmanager
def _routed(bank: Bank, name: str, texts: Sequence[str], weights: tuple[float, float]) -> Iterator[dict[str, Any]]:
    """Inside, the model has a variant's gates; yields what `routing` is told for chats of these prompts."""
    if name in SCORES:
        gated(bank, name)
        yield {}
    elif name in ("glider", "glider, sure"):
        high, low = weights
        kept = {layer: layer.layer.gate for layer in adapted(gated(bank, "phatgoose")).values()}
        add_global(bank.late, bank.view(texts), high, low, bank.view.confident if name == "glider" else -1.0)
        try:
            yield {"task": torch.arange(len(texts))}
        finally:
            for layer, gate in kept.items():
                layer.layer.gate = gate
    elif name == "global":
        yield {"expert": bank.view(texts).argmax(-1)}
    elif name == "random":
        yield {"expert": torch.randint(bank.experts, (len(texts),), generator=bank.draws(3))}
    else:
        yield {"weights": torch.full((bank.experts,), 1 / bank.experts if name == "average" else 0.0)}


@torch.no_grad()
def _asked(late: Late, read: Read, right: int, **hand: Any) -> Scored:
    late.eval()
    with routing(late, mask=read.mask_BS, **hand):
        logits_AV = late(read)
    wrong_A = (logits_AV.argmax(-1) != read.next_A).long()
    wrong_B = torch.zeros(len(read.at_BS), dtype=torch.int64).index_add(0, read.rows(), wrong_A)
    passes = [layer.last for layer in adapted(late).values() if layer.last is not None]
    chosen = [one.plan.scores_TE[read.at_BS.flatten()].argmax(-1) for one in passes]
    return Scored(
        float(F.cross_entropy(logits_AV, read.next_A)),
        float((wrong_B == 0).float().mean()),
        float(torch.cat(chosen).eq(right).float().mean()),
    )
