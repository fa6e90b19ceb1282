"""WideMLP: a wide hidden layer over a bag of words."""

from __future__ import annotations

from typing import ClassVar

from turnout.base import Number
from turnout.cards.matchers._network import Network

__all__ = ["WideMLP"]


class WideMLP(Network):
    """One hidden layer of rectified units over TF-IDF, then a softmax.

    Source: Galke and Scherp, "Bag-of-Words vs. Graph vs. Sequence in Text Classification", 2022 (1,024 units over
    TF-IDF). Narrower by default here. Limits: knows words it was trained on, and no expert without utterances.
    """

    rules: ClassVar = {
        "hidden": Number(1, 8192, integer=True),
        "epochs": Number(1, 1000, integer=True),
        "seed": Number(0, 2**32 - 1, integer=True),
    }

    def __init__(self, hidden: int = 256, epochs: int = 12, seed: int = 0) -> None:
        self.hidden, self.epochs, self.seed = hidden, epochs, seed
