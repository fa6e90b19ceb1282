"""How well an expert's utterances match a text: one algorithm, one file."""

from turnout.cards.matchers.base import Matcher

__all__ = ["Matcher"]
