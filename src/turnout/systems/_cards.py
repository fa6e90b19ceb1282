"""Real cards and utterances for the systems that find an expert by its text.

Shape letters: N texts, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from turnout.cards import Card, CardIndex, read_cards
from turnout.errors import LogError
from turnout.evaluation.datasets import folder
from turnout.features import Floats

Labelled: TypeAlias = tuple[list[str], list[str]]


def clinc150(data: Path | str | None) -> tuple[list[Card], dict[str, Labelled]]:
    """The 150 written cards (of TCAR's repository) and CLINC150's utterances by split, the intent of each as its card.

    Utterances that stand in a card word for word are left out: the cards were written from utterances.
    """
    from turnout.outcomes import files

    home = folder(data)
    _present(home / "agent_cards" / "clinc150.xml", home / "clinc150" / "utterances.parquet")
    written = read_cards(home / "agent_cards" / "clinc150.xml")
    cards = [Card(c.id.split(":")[-1], c.id.split(":")[-1].replace("_", " "), c.description) for c in written]
    described = "\n".join(card.description.lower() for card in cards)
    _, table = files.read(home / "clinc150" / "utterances.parquet")
    splits: dict[str, Labelled] = {}
    for split, text, intent in zip(*(table[name].to_list() for name in ("split", "text", "intent")), strict=True):
        if len(text.split()) > 3 and text.lower() in described:
            continue
        texts, intents = splits.setdefault(split, ([], []))
        texts.append(text)
        intents.append(intent)
    return cards, splits


def metatool(data: Path | str | None) -> tuple[list[Card], Labelled]:
    """MetaTool's 199 tools with their descriptions, and queries with the tool of each; repeated queries once."""
    from turnout.outcomes import files

    home = folder(data) / "metatool"
    _present(home / "tools.json", home / "queries.parquet")
    _, table = files.read(home / "queries.parquet")
    seen = dict(zip(table["prompt"].to_list(), table["tool"].to_list(), strict=True))
    return read_cards(home / "tools.json"), (list(seen), list(seen.values()))


def picked(found: Labelled, experts: Sequence[str], share: float = 1.0, seed: int = 0) -> Labelled:
    """The utterances of some experts, or an even draw of them."""
    wanted, drawn = set(experts), np.random.default_rng(seed).random(len(found[0]))
    kept = [(text, e) for text, e, at in zip(*found, drawn.tolist(), strict=True) if e in wanted and at < share]
    return [text for text, _ in kept], [e for _, e in kept]


def places(cards: Sequence[Card], experts: Sequence[str]) -> NDArray[np.int64]:
    """The place of each expert's card."""
    at = {card.id: place for place, card in enumerate(cards)}
    return np.array([at[expert] for expert in experts], dtype=np.int64)


def hit(scores_NE: Floats, expert_N: NDArray[np.int64], k: int = 1) -> Floats:
    """1 where the right expert is among the k best, 0 elsewhere."""
    own_N = scores_NE[np.arange(len(expert_N)), expert_N]
    better_N = (scores_NE > own_N[:, None]).sum(axis=1) + ((scores_NE == own_N[:, None]).sum(axis=1) - 1) / 2
    return np.asarray((better_N < k).astype(np.float64))


def rejected(inside_N: Floats, outside_N: Floats, coverage: float = 0.95) -> float:
    """Recall of what is out of scope at the threshold that keeps `coverage` of what is in scope."""
    return float((outside_N < np.quantile(inside_N, 1.0 - coverage)).mean())


def searched(cards: Sequence[Card], texts: Sequence[str]) -> tuple[Floats, Floats]:
    """BM25 and cosine of every card for every text."""
    return CardIndex(cards).scores(texts)


def _present(*paths: Path) -> None:
    for path in paths:
        if not path.exists():
            raise LogError(f"{path}: no such table; see the data's sources in docs/cards.md")
