"""Agents found by their cards: what the presets of TCAR share, and how they are measured on CLINC150.

Shape letters: N texts, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from turnout import registry
from turnout.cards import Card, CardRouter
from turnout.cards.fitting import MATCHERS
from turnout.features import Floats
from turnout.signals.base import Signal
from turnout.stats import bootstrap_mean, paired_bootstrap
from turnout.systems._cards import Labelled, clinc150, hit, picked, places, rejected
from turnout.systems.base import Figures, Run, System

HIDDEN = 30  # experts that are added by their cards after the fit
BLEND = 0.6


def build(encoder: Signal, cede: float) -> Mapping[str, Any]:
    """Parts of a card router that reads by `encoder`; `cede` is what older experts may lose to newcomers."""
    return {
        "signals": (encoder, registry.create("signal", "tfidf")),
        "matchers": tuple(registry.create("matcher", name) for name in MATCHERS),
        "floor": registry.create("floor", "max_score"),
        "cede": cede,
    }


def parts(encoder: str) -> tuple[str, ...]:
    """Registered names of what `build` makes."""
    return (
        f"signal:{encoder}",
        "signal:embedding",
        "signal:tfidf",
        *(f"matcher:{m}" for m in MATCHERS),
        "floor:max_score",
    )


def _fitted(system: System, cards: Sequence[Card], train: Labelled, held: Labelled, seed: int) -> CardRouter:
    made = system.build()
    encoder, words = made["signals"]
    options = {name: made[name] for name in ("matchers", "floor", "cede")}
    signals = {"embedding": encoder, words.name: words}
    return CardRouter(cards, encoder=encoder).fit(*train, calibration=held, signals=signals, seed=seed, **options)


def measure(system: System, run: Run) -> Figures:
    """Figures before and after 30 of CLINC150's intents are added by their cards, per seed."""
    cards, splits = clinc150(run.data)
    ids = [card.id for card in cards]
    full = _state(_fitted(system, cards, picked(splits["train"], ids), picked(splits["val"], ids), 0), splits)
    rows, hits, raws = [_row("all by utterances", full, set())], [], []
    lexical_NE, dense_NE = CardRouter(cards, encoder=system.build()["signals"][0]).index.scores(splits["test"][0])
    raw_N = hit((1 - BLEND) * lexical_NE + BLEND * dense_NE, places(cards, splits["test"][1]))
    for number, seed in enumerate(run.seeds):
        hidden = set(np.random.default_rng(seed).permutation(ids)[:HIDDEN].tolist())
        seen = [card for card in cards if card.id not in hidden]
        known = [card.id for card in seen]
        router = _fitted(system, seen, picked(splits["train"], known), picked(splits["val"], known), seed)
        rows.append(_row(f"seed {seed}: before", _state(router, splits), set()))
        router.add(card for card in cards if card.id in hidden)
        after = _state(router, splits)
        rows.append(_row(f"seed {seed}: after {HIDDEN} by card", after, hidden))
        own = np.array([expert in hidden for expert in after["experts"]])
        hits.append(after["hit"][own])
        raws.append(raw_N[np.array([expert in hidden for expert in splits["test"][1]])])
        rows.append({**_row(f"seed {seed}: same queries, all by utterances", full, hidden)})
        if run.tick:
            run.tick(number + 1, len(run.seeds))
    hit_N, raw_N = np.concatenate(hits), np.concatenate(raws)
    return Figures(
        table="clinc150",
        protocol=f"{HIDDEN} of 150 intents hidden from fitting, added by their cards, per seed; test split; weights, "
        "sets and floors from the validation split of visible intents; out of scope at 95 % in-scope coverage",
        metric="accuracy on experts added by card",
        value=bootstrap_mean(hit_N, seed=0),
        gain=paired_bootstrap(hit_N - raw_N, seed=0),
        against="the card's words and embedding alone",
        rows=rows,
    )


def _state(router: CardRouter, splits: Mapping[str, Labelled]) -> dict[str, Any]:
    """Scores of the test utterances whose expert is there, and of those out of scope."""
    assert router.learned is not None
    texts, experts = picked(splits["test"], [card.id for card in router.cards])
    logits_NE, scope_N = router.judge(texts)
    outside_NE, outside_N = router.judge(splits["oos_test"][0])
    expert_N = places(router.cards, experts)
    set_NE = logits_NE >= logits_NE.max(axis=1, keepdims=True) - router.learned.delta

    def kept(scores_NE: Floats, scope_N: Floats) -> Floats:
        assert router.learned is not None
        newcomer_N = router.new_E[scores_NE.argmax(axis=1)]
        least_N = np.where(newcomer_N, router.learned.least_new, router.learned.least)
        return np.asarray(scope_N >= least_N)

    return {
        "experts": experts,
        "hit": hit(logits_NE, expert_N),
        "covered": set_NE[np.arange(len(expert_N)), expert_N].astype(float),
        "size": set_NE.sum(axis=1),
        "rejected": rejected(scope_N, outside_N),
        "kept": kept(logits_NE, scope_N),
        "refused": 1.0 - kept(outside_NE, outside_N),
    }


def _row(name: str, found: Mapping[str, Any], hidden: set[str]) -> dict[str, str | float | None]:
    own = np.array([expert in hidden for expert in found["experts"]])
    return {
        "name": name,
        "accuracy": float(found["hit"].mean()),
        "visible": float(found["hit"][~own].mean()),
        "hidden": float(found["hit"][own].mean()) if own.any() else None,
        "set coverage": float(found["covered"].mean()),
        "set size": float(found["size"].mean()),
        "out-of-scope recall": found["rejected"],
        "kept by the floor": float(found["kept"].mean()),
        "refused by the floor": float(found["refused"].mean()),
    }
