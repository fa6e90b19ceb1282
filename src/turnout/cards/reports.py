"""How a card router does on labelled utterances.

Shape letters: N texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from turnout.cards.router import CardRouter
from turnout.errors import CardError, did_you_mean

BLOCK = 512


def report(router: CardRouter, texts: Sequence[str], experts: Sequence[str | None]) -> dict[str, Any]:
    """Shares over texts; an expert of None means that the text should be refused.

    `accuracy` is that of the best expert, refusals aside; `coverage` counts sets that hold the right one, `kept` the
    texts in scope that were not refused, `refused` those out of scope that were.
    """
    known = {card.id for card in router.cards}
    for expert in experts:
        if expert is not None and expert not in known:
            raise CardError(f"no card {expert!r}{did_you_mean(expert, known)} {len(known):,} cards known")
    choices = [c for at in range(0, len(texts), BLOCK) for c in router.select_many(texts[at : at + BLOCK])]
    pairs = list(zip(choices, experts, strict=True))
    inside = [(choice, expert) for choice, expert in pairs if expert is not None]
    outside = [choice for choice, expert in pairs if expert is None]
    kept = [(choice, expert) for choice, expert in inside if not choice.refused]
    return {
        "in_scope": len(inside),
        "accuracy": _share([choice.ranking[0][0] == expert for choice, expert in inside]),
        "kept": _share([not choice.refused for choice, _ in inside]),
        "coverage": _share([expert in choice.experts for choice, expert in kept]),
        "set_size": _share([len(choice.experts) for choice, _ in kept]),
        "out_of_scope": len(outside),
        "refused": _share([choice.refused for choice in outside]),
    }


def _share(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
