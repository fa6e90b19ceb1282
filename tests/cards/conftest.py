"""Twelve small experts with made utterances, and a router fitted on them once."""

from __future__ import annotations

import numpy as np
import pytest

from turnout.cards import Card, CardRouter

TOPICS = {
    "weather": "rain snow forecast storm temperature sunny umbrella",
    "stocks": "shares market price dividend portfolio nasdaq trading",
    "recipes": "cook bake ingredients oven soup dinner dish",
    "travel": "flight hotel airport luggage passport trip booking",
    "music": "song album playlist guitar concert singer melody",
    "fitness": "workout muscles running gym exercise calories stretch",
    "banking": "account balance transfer deposit loan branch savings",
    "gardening": "plant soil seeds flower watering roses lawn",
    "law": "contract court lawyer lawsuit clause judge legal",
    "cars": "engine tires brake oil mechanic gearbox vehicle",
    "health": "doctor fever medicine headache symptoms clinic pain",
    "movies": "film actor cinema director trailer scene oscar",
}
FRAMES = ("tell me about {} and {}", "i need help with {} {}", "what of {} or {} today", "please check {} {} now")


def utterances(topic: str, count: int, seed: int) -> list[str]:
    rng = np.random.default_rng([seed, sorted(TOPICS).index(topic)])
    words = TOPICS[topic].split()
    return [
        f"{FRAMES[int(rng.integers(4))].format(*rng.choice(words, 2, replace=False))} {rng.integers(1000)}"
        for _ in range(count)
    ]


def card(topic: str) -> Card:
    return Card(topic, topic.title(), f"Answers questions on {', '.join(TOPICS[topic].split()[:4])}.")


def labelled(topics: list[str], count: int, seed: int) -> tuple[list[str], list[str]]:
    pairs = [(text, topic) for topic in topics for text in utterances(topic, count, seed)]
    return [text for text, _ in pairs], [topic for _, topic in pairs]


@pytest.fixture(scope="session")
def topics() -> list[str]:
    return list(TOPICS)


@pytest.fixture(scope="session")
def fitted_state() -> CardRouter:
    """All topics but the last; do not change it."""
    known = list(TOPICS)[:-1]
    return CardRouter(card(topic) for topic in known).fit(*labelled(known, 30, seed=0))
