"""fastText's classifier: the mean of learned n-gram vectors, then a softmax."""

from __future__ import annotations

from typing import ClassVar

from turnout.base import Number
from turnout.cards.matchers._network import Network

__all__ = ["FastText"]


class FastText(Network):
    """A linear classifier of low rank over word and character n-grams: no unit between the two products.

    Source: Joulin et al., "Bag of Tricks for Efficient Text Classification", 2016. N-grams are those of TF-IDF and
    weighted by it, instead of hashed and averaged. Limits: as a linear model, it cannot see which words come together.
    """

    activation = "identity"
    rules: ClassVar = {
        "hidden": Number(1, 8192, integer=True),
        "epochs": Number(1, 1000, integer=True),
        "seed": Number(0, 2**32 - 1, integer=True),
    }

    def __init__(self, hidden: int = 64, epochs: int = 12, seed: int = 0) -> None:
        self.hidden, self.epochs, self.seed = hidden, epochs, seed
