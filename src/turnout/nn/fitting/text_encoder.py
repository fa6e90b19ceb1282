"""A small text encoder, fine-tuned end to end on logged scores; what it learned comes back as arrays.

Token embeddings are pooled by attention (a learned query), joined by the text's length, and go through one hidden layer
to a logit per expert, as the classifiers of RouteLLM (Ong et al., arXiv 2406.18665) and Hybrid LLM (Ding et al., arXiv
2404.14618) do on top of BERT. Cross-entropy with the scores; Adam, the embeddings by SparseAdam.

Attention without positions weighs a token by itself alone, so after training the weights fold into the table, and the
encoder is a sum of rows: no torch is needed to use it.

Shape letters: N queries, E experts, V vocabulary, U tokens that occur, L tokens of a query, B batch, D dimensions,
H units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from turnout.features import Floats, Sparse
from turnout.signals.encoders.static import load

STEEPEST = 4.0  # bound on a token's attention, in nats, so that no single word is all that is read
DIMENSIONS = 64  # of a table that starts at random, because its vocabulary is not the encoder's


@dataclass(frozen=True, slots=True)
class Training:
    """How to train. `held` is the part of the queries that says when to stop, after `patience` epochs in vain."""

    hidden: int = 64
    epochs: int = 12
    step: float = 2e-3
    table_step: float = 1e-3
    decay: float = 0.01
    dropout: float = 0.2
    batch: int = 32
    held: float = 0.15
    fewest: int = 80
    patience: int = 3
    seed: int = 0


class TextEncoder(nn.Module):
    """Token ids and counts (B, L), a count of 0 being padding, to logits (B, E)."""

    def __init__(self, table_UD: Tensor, level_E: Tensor, training: Training) -> None:
        super().__init__()
        width = table_UD.shape[1]
        self.table = nn.Embedding(len(table_UD), width, sparse=True, _weight=table_UD.clone())
        self.query_D = nn.Parameter(torch.zeros(width))
        self.hidden = nn.Linear(width + 1, training.hidden)
        self.dropout = nn.Dropout(training.dropout)
        self.head = nn.Linear(training.hidden, len(level_E))
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            self.head.bias.copy_(level_E)

    def forward(self, ids_BL: Tensor, counts_BL: Tensor) -> Tensor:
        """Logits (B, E)."""
        rows_BLD = folded(self.table(ids_BL), self.query_D)
        pooled_BD = nn.functional.normalize((counts_BL[..., None] * rows_BLD).sum(dim=1), dim=1)
        length_B1 = lengths(counts_BL.sum(dim=1, keepdim=True))
        units_BH = torch.tanh(self.hidden(torch.cat([pooled_BD * pooled_BD.shape[1] ** 0.5, length_B1], dim=1)))
        logits_BE: Tensor = self.head(self.dropout(units_BH))
        return logits_BE


def folded(rows_LD: Tensor, query_D: Tensor) -> Tensor:
    """Rows times their attention, which a text's normalisation makes relative."""
    return rows_LD * torch.exp(torch.clamp(rows_LD @ query_D, -STEEPEST, STEEPEST))[..., None]


def lengths(total: Tensor) -> Tensor:
    """Tokens on a log scale, about −2 to 2."""
    return torch.log1p(total) - 4.0


def fine_tune(
    counts: Sparse, scores_NE: Floats, weights_NE: Floats, training: Training, encoder: str = "minilm"
) -> Mapping[str, NDArray[Any]]:
    """Train on token counts (N, V) and scores in [0, 1]; cells without weight are not read.

    Starts from the encoder's static table where the vocabulary is its own, else at random. Returns `table_VD` (float16,
    attention folded in), `hidden_DH` (its last row is the length's), `hidden_H`, `head_HE` and `head_E`.

    Limits: tokens that the log never showed keep the rows they started with.
    """
    generator = torch.Generator().manual_seed(training.seed)
    torch_state = torch.get_rng_state()
    torch.manual_seed(training.seed)  # of the layers' first values and of dropout
    try:
        start_VD = _start(counts.columns, encoder, training.seed)
        seen_U, local_Z = np.unique(counts.indices, return_inverse=True)
        seen_U = seen_U if len(seen_U) else np.zeros(1, dtype=np.int64)
        model = TextEncoder(torch.from_numpy(start_VD[seen_U]), _level(scores_NE, weights_NE), training)
        data = _Data(counts, local_Z, scores_NE, weights_NE)
        _train(model, data, training, generator)
    finally:
        torch.set_rng_state(torch_state)
    return _exported(model, start_VD, seen_U)


def _start(columns: int, encoder: str, seed: int) -> NDArray[np.float32]:
    """The table at the start, rows of length one in the mean."""
    known = load(encoder)
    if columns == len(known.vocabulary):
        table_VD = known.table_VD.astype(np.float32) * known.scale_V[:, None]
    else:
        table_VD = np.random.default_rng(seed).normal(size=(columns, DIMENSIONS)).astype(np.float32)
    return np.asarray(table_VD / np.linalg.norm(table_VD, axis=1).mean(), dtype=np.float32)


def _level(scores_NE: Floats, weights_NE: Floats) -> Tensor:
    """The logit of each expert's mean score."""
    filled_NE = np.where(weights_NE > 0, scores_NE, 0.0)
    mean_E = (weights_NE * filled_NE).sum(axis=0) / weights_NE.sum(axis=0)
    mean_E = np.clip(mean_E, 0.01, 0.99)
    return torch.from_numpy(np.log(mean_E / (1 - mean_E)).astype(np.float32))


class _Data:
    """Queries as tensors, a batch at a time."""

    def __init__(self, counts: Sparse, local_Z: NDArray[Any], scores_NE: Floats, weights_NE: Floats) -> None:
        self.starts, self.local_Z, self.counts_Z = counts.indptr, local_Z, counts.data
        self.scores_NE = torch.from_numpy(np.where(weights_NE > 0, scores_NE, 0.0).astype(np.float32))
        even_E = weights_NE.sum(axis=0) / np.maximum((weights_NE > 0).sum(axis=0), 1)
        self.weights_NE = torch.from_numpy((weights_NE / even_E).astype(np.float32))

    def __len__(self) -> int:
        return len(self.scores_NE)

    def batch(self, rows_B: NDArray[Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Ids and counts (B, L), scores and weights (B, E)."""
        spans = [(int(self.starts[n]), int(self.starts[n + 1])) for n in rows_B]
        longest = max(1, *(b - a for a, b in spans))
        ids_BL, counts_BL = np.zeros((len(spans), longest), np.int64), np.zeros((len(spans), longest), np.float32)
        for row, (a, b) in enumerate(spans):
            ids_BL[row, : b - a], counts_BL[row, : b - a] = self.local_Z[a:b], self.counts_Z[a:b]
        at = torch.from_numpy(rows_B)
        return torch.from_numpy(ids_BL), torch.from_numpy(counts_BL), self.scores_NE[at], self.weights_NE[at]


def _train(model: TextEncoder, data: _Data, training: Training, generator: torch.Generator) -> None:
    """Leaves the model as it was after the epoch, or before the first, with the least loss on the queries held out."""
    order_N = torch.randperm(len(data), generator=generator).numpy()
    cut = int(training.held * len(data)) if len(data) >= training.fewest else 0
    held_N, fit_N = (order_N[:cut], order_N[cut:]) if cut else (order_N, order_N)
    rest = [parameter for name, parameter in model.named_parameters() if name != "table.weight"]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=training.step, weight_decay=training.decay)]
    if training.table_step:
        optimizers.append(torch.optim.SparseAdam([model.table.weight], lr=training.table_step))
    best, kept, waited = _loss(model, data, held_N), _copied(model), 0
    for _ in range(training.epochs):
        model.train()
        for rows_B in _batches(fit_N, training.batch, generator):
            ids_BL, counts_BL, scores_BE, weights_BE = data.batch(rows_B)
            for optimizer in optimizers:
                optimizer.zero_grad()
            _cross_entropy(model(ids_BL, counts_BL), scores_BE, weights_BE).backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()
        loss = _loss(model, data, held_N)
        waited += 1
        if loss < best:
            best, kept, waited = loss, _copied(model), 0
        elif waited >= training.patience:
            break
    model.load_state_dict(kept)
    model.eval()


def _batches(rows_N: NDArray[Any], size: int, generator: torch.Generator) -> Iterator[NDArray[Any]]:
    mixed_N = rows_N[torch.randperm(len(rows_N), generator=generator).numpy()]
    return (mixed_N[start : start + size] for start in range(0, len(mixed_N), size))


def _cross_entropy(logits_BE: Tensor, scores_BE: Tensor, weights_BE: Tensor) -> Tensor:
    each_BE = nn.functional.binary_cross_entropy_with_logits(logits_BE, scores_BE, reduction="none")
    return (weights_BE * each_BE).sum() / len(logits_BE)


def _loss(model: TextEncoder, data: _Data, rows_N: NDArray[Any]) -> float:
    model.eval()
    with torch.no_grad():
        parts = [data.batch(rows_N[start : start + 256]) for start in range(0, len(rows_N), 256)]
        return sum(float(_cross_entropy(model(i, c), s, w)) * len(i) for i, c, s, w in parts) / len(rows_N)


def _copied(model: TextEncoder) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _exported(model: TextEncoder, start_VD: NDArray[np.float32], seen_U: NDArray[Any]) -> dict[str, NDArray[Any]]:
    table_VD = start_VD.copy()
    table_VD[seen_U] = model.table.weight.detach().numpy()
    with torch.no_grad():
        folded_VD = folded(torch.from_numpy(table_VD), model.query_D).numpy()
    arrays = {
        "hidden_DH": model.hidden.weight.detach().numpy().T,
        "hidden_H": model.hidden.bias.detach().numpy(),
        "head_HE": model.head.weight.detach().numpy().T,
        "head_E": model.head.bias.detach().numpy(),
    }
    return {"table_VD": folded_VD.astype(np.float16), **{name: np.ascontiguousarray(a) for name, a in arrays.items()}}
