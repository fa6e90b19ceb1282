"""The values of an operator's signals for one request: computed when a rule asks, once, and never otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from turnout import registry
from turnout.features import Floats, clip
from turnout.rules.expression import Expression, parse
from turnout.rules.spec import COST, SignalSpec
from turnout.types import Request

READ = 20_000  # characters at either end of a text that words and patterns are looked for in
Value: TypeAlias = float | str | bool | None
Test: TypeAlias = "Callable[[View], tuple[Value, bool]]"

_LANGUAGE_OF_SCRIPT = {"han": "zh", "kana": "ja", "hangul": "ko"}


@dataclass
class View:
    """One request, and what has been read of it so far."""

    request: Request
    rows: dict[bool, Floats] = field(default_factory=dict)
    cut: dict[tuple[bool, bool], list[str]] = field(default_factory=dict)
    read: dict[str, tuple[Value, bool]] = field(default_factory=dict)
    composed: dict[str, bool] = field(default_factory=dict)

    def texts(self, turns: bool) -> Sequence[str]:
        """What the user said, or all of the user's turns."""
        request = self.request
        return request.turns if turns and request.turns else (request.text if request.said is None else request.said,)

    def clipped(self, turns: bool, lower: bool) -> Sequence[str]:
        """What words and patterns are looked for in."""
        if (turns, lower) not in self.cut:
            texts = [clip(text, READ) for text in self.texts(turns)]
            self.cut[turns, lower] = [text.lower() for text in texts] if lower else texts
        return self.cut[turns, lower]

    def embedded(self, turns: bool) -> Floats:
        """Unit rows of those texts, shape (N, D)."""
        if turns not in self.rows:
            self.rows[turns] = np.asarray(registry.get("signal", "embedding")().transform(self.texts(turns)))
        return self.rows[turns]

    def readings(self) -> dict[str, dict[str, Value]]:
        """The signals that were computed: each one's value and whether it holds."""
        return {name: {"holds": holds, "value": value} for name, (value, holds) in self.read.items()}


class Conditions:
    """Compiled signals. Safe to share between threads; a `View` belongs to one request."""

    def __init__(self, signals: Mapping[str, SignalSpec]) -> None:
        self._tests: dict[str, Test] = {
            name: compiled_signal(spec) for name, spec in signals.items() if spec.when is None
        }
        self._cost = {name: COST[spec.type] for name, spec in signals.items() if spec.when is None}
        trees = {name: parse(spec.when) for name, spec in signals.items() if spec.when is not None}
        for name in trees:
            self._price(name, trees)
        self._composed = {name: self.compiled(tree) for name, tree in trees.items()}
        self.turns = any(spec.turns for spec in signals.values() if spec.type != "conversation")

    def compiled(self, tree: Expression) -> Expression:
        """An equal tree that asks cheap signals first."""
        return tree.ordered(self._cost.__getitem__)

    def holds(self, name: str, view: View) -> bool:
        """Whether a signal holds for the request; raises KeyError for a name that is not defined."""
        tree = self._composed.get(name)
        if tree is not None:
            if name not in view.composed:
                view.composed[name] = tree.holds(lambda inner: self.holds(inner, view))
            return view.composed[name]
        if name not in view.read:
            view.read[name] = self._tests[name](view)
        return view.read[name][1]

    def _price(self, name: str, trees: Mapping[str, Expression]) -> float:
        if name not in self._cost:
            self._cost[name] = sum(self._price(inner, trees) for inner in set(trees[name].names()))
        return self._cost[name]


def compiled_signal(spec: SignalSpec) -> Test:
    """From a signal as written, which has been checked, to a function of the request."""
    return _MAKERS[spec.type](spec)


def _keyword(spec: SignalSpec) -> Test:
    if spec.fuzzy is not None:
        return _fuzzy(spec, spec.fuzzy)
    wanted = [(word, word.strip().lower(), _edged(word.strip().lower())) for word in spec.words]

    def look(text: str) -> str | None:
        hits = (
            low in text and found(text) is not None for _, low, found in wanted
        )  # `in` is far cheaper than a search
        if spec.match == "all":
            return " + ".join(spec.words) if all(hits) else None
        return next((word for (word, _, _), hit in zip(wanted, hits, strict=False) if hit), None)

    return _first(spec, look, lower=True)


def _edged(word: str) -> Callable[[str], re.Match[str] | None]:
    """A search for the word as a whole: letters and digits on its outside are not part of it."""
    before, after = (r"(?<!\w)" if re.match(r"\w", word) else ""), (r"(?!\w)" if re.search(r"\w$", word) else "")
    return re.compile(before + re.escape(word) + after).search


def _fuzzy(spec: SignalSpec, least: float) -> Test:
    """Words as alike as `least`: Jaccard similarity of their character trigrams; phrases, to as many words in a row."""
    wanted = [(len(word.split()), _trigrams(" ".join(word.lower().split()))) for word in spec.words]
    enough = all if spec.match == "all" else any

    def look(text: str) -> str | None:
        words = re.findall(r"\w+", text)
        runs = {
            n: [(run, _trigrams(run)) for run in {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}]
            for n in {n for n, _ in wanted}
        }
        hits = [
            next((run for run, grams in runs[n] if len(grams & own) >= least * len(grams | own)), None)
            for n, own in wanted
        ]
        return " + ".join(hit for hit in hits if hit) if enough(hits) else None

    return _first(spec, look, lower=True)


def _trigrams(word: str) -> frozenset[str]:
    padded = f"  {word} "
    return frozenset(padded[i : i + 3] for i in range(len(padded) - 2))


def _first(spec: SignalSpec, look: Callable[[str], str | None], *, lower: bool = False) -> Test:
    """Whether any text that counts has a hit; `none` turns the answer round."""

    def test(view: View) -> tuple[Value, bool]:
        hit = next((h for text in view.clipped(spec.turns, lower) if (h := look(text)) is not None), None)
        return hit, (hit is None) if spec.match == "none" else (hit is not None)

    return test


def _regex(spec: SignalSpec) -> Test:
    found = re.compile(spec.pattern or "").search
    return _first(spec, lambda text: match[0] if (match := found(text)) else None)


def _length(spec: SignalSpec) -> Test:
    low, high = spec.low, spec.high
    return lambda view: ((tokens := view.request.prompt_tokens), low <= tokens <= high)


def _language(spec: SignalSpec) -> Test:
    wanted = frozenset(spec.languages)
    return lambda view: ((found := language_of(view.texts(turns=False)[0])), found in wanted)


def language_of(text: str) -> str:
    """The language, or the script of one that is not told apart from others.

    >>> language_of("Wie ist das Wetter in der Stadt?"), language_of("これは何ですか"), language_of("42")
    ('de', 'ja', 'unknown')
    """
    from turnout.signals.language import COLUMNS, SCRIPTS

    row = np.asarray(registry.get("signal", "language")().transform((text,)))[0]
    scripts, words = row[: len(SCRIPTS)], row[len(SCRIPTS) :]
    if not scripts.any():
        return "unknown"
    if scripts[SCRIPTS.index("kana")] > 0.1:  # Japanese mixes kana with many Chinese characters
        return "ja"
    script = SCRIPTS[int(scripts.argmax())]
    if script != "latin":
        return _LANGUAGE_OF_SCRIPT.get(script, script)
    return COLUMNS[len(SCRIPTS) + int(words.argmax())] if words.any() else "unknown"


def _similarity(spec: SignalSpec) -> Test:
    make = registry.get("signal", "contrast")
    given = {"of": spec.of} if spec.of else {"positive": spec.examples, "negative": spec.against}
    signal = make(**given)
    signal.check()
    signal.fit(())
    low, high = spec.low, spec.high

    def test(view: View) -> tuple[Value, bool]:
        value = float(signal.score(view.embedded(spec.turns)).max())
        return value, low <= value <= high

    return test


def _tenant(spec: SignalSpec) -> Test:
    tenants = frozenset(spec.tenants)
    return lambda view: (view.request.tenant, view.request.tenant in tenants)


def _needs(spec: SignalSpec) -> Test:
    needs = frozenset(spec.needs)
    return lambda view: (", ".join(sorted(view.request.needs)), needs <= view.request.needs)


def _conversation(spec: SignalSpec) -> Test:
    return lambda view: (view.request.previous, (view.request.previous is not None) == spec.turns)


_MAKERS: dict[str, Callable[[SignalSpec], Test]] = {
    "keyword": _keyword,
    "regex": _regex,
    "length": _length,
    "language": _language,
    "embedding": _similarity,
    "contrast": _similarity,
    "tenant": _tenant,
    "needs": _needs,
    "conversation": _conversation,
}
