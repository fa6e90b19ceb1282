"""Experts found by their text (name, description, body, example utterances), or the request refused."""

from turnout.cards.card import Card, closure, read_cards, write_cards
from turnout.cards.index import CardIndex, Hit
from turnout.cards.router import CardRouter, Choice

__all__ = ["Card", "CardIndex", "CardRouter", "Choice", "Hit", "closure", "read_cards", "write_cards"]
