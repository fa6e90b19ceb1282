"""Experts found by their text (name, description, body, example utterances), or the request refused."""

from turnout.cards.card import Card, read_cards, write_cards
from turnout.cards.index import CardIndex, Hit

__all__ = ["Card", "CardIndex", "Hit", "read_cards", "write_cards"]
