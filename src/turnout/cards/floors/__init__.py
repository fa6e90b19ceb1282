"""Scores of belonging to any expert at all: one rule, one file."""

from turnout.cards.floors.base import Evidence, Floor

__all__ = ["Evidence", "Floor"]
