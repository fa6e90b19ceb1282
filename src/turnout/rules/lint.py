"""Is a set of rules sound? Errors that make it meaningless, and findings that an operator should see.

Satisfiability is exact up to what is known about pairs of signals (ranges, sets of words, languages): conditions are
ordered decision diagrams (Bryant, IEEE Trans. Computers 1986). A rule that is reported unreachable truly is; a rule
that only semantics makes unreachable is not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from math import ceil, floor, isfinite
from typing import Literal

from turnout.errors import ConfigError, did_you_mean
from turnout.rules.expression import Expression, is_name, parse
from turnout.rules.spec import Rule, SignalSpec

LARGEST = 200_000  # nodes of decision diagrams; beyond, the linter gives up and says so


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is allowed but hardly meant."""

    kind: Literal["unreachable", "conflict", "unused", "always", "too large"]
    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Named:
    """A rule with its name and its condition."""

    name: str
    rule: Rule
    when: Expression


def check(signals: Mapping[str, SignalSpec], rules: Sequence[Rule]) -> tuple[Named, ...]:
    """The rules in the order they are tried. Raises ConfigError for what cannot be meant."""
    for name, spec in signals.items():
        if not is_name(name):
            raise ConfigError(
                f"`router.signals`: {name!r} cannot stand in a condition; use letters, digits, _, - and ."
            )
        spec.check(name)
    trees = composed(signals)
    for name, tree in trees.items():
        _known(tree, signals, f"`router.signals.{name}`")
    _acyclic(trees)
    named = _named(rules)
    for entry in named:
        _known(entry.when, signals, f"rule {entry.name!r}")
        entry.rule.then.check(entry.name)
    diagram = Diagram(signals)
    for entry in named:
        if not diagram.failed and diagram.possible(diagram.of(entry.when)) is False:
            raise ConfigError(f"rule {entry.name!r}: `{entry.rule.when}` can never hold; it contradicts itself")
    return tuple(sorted(named, key=lambda entry: -entry.rule.priority))


def lint(signals: Mapping[str, SignalSpec], rules: Sequence[Rule]) -> list[Finding]:
    """What is allowed but hardly meant. Raises ConfigError as `check` does."""
    ordered = check(signals, rules)
    diagram = Diagram(signals)
    found = [*_reach(ordered, diagram), *_conflicts(ordered, diagram)]
    used = {name for rule in rules for name in parse(rule.when).names()}
    for spec in signals.values():
        used |= set(parse(spec.when).names()) if spec.when else set()
    found += [Finding("unused", "", f"signal {name!r} stands in no rule") for name in signals if name not in used]
    if diagram.failed:
        found.append(Finding("too large", "", "the conditions are too many to be compared in full"))
    return found


def composed(signals: Mapping[str, SignalSpec]) -> dict[str, Expression]:
    """The conditions of signals of type `when`."""
    return {name: parse(spec.when) for name, spec in signals.items() if spec.when is not None}


def _known(tree: Expression, signals: Mapping[str, SignalSpec], where: str) -> None:
    for name in tree.names():
        if name not in signals:
            near = did_you_mean(name, signals)
            raise ConfigError(f"{where}: unknown signal {name!r}{near} defined: {', '.join(signals) or 'none'}")


def _acyclic(trees: Mapping[str, Expression]) -> None:
    """Depth-first search; a signal that is met again on its own path closes a circle."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ConfigError(f"`router.signals`: a circle: {' → '.join((*path[path.index(name) :], name))}")
        if name not in done and name in trees:
            for inner in dict.fromkeys(trees[name].names()):
                visit(inner, (*path, name))
            done.add(name)

    for name in trees:
        visit(name, ())


def _named(rules: Sequence[Rule]) -> list[Named]:
    named = [Named(rule.name or f"rule {n}", rule, parse(rule.when)) for n, rule in enumerate(rules, start=1)]
    names = [entry.name for entry in named]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"`router.rules`: two rules have the name {name!r}; names must be unique")
    return named


def _reach(ordered: Sequence[Named], diagram: Diagram) -> Iterator[Finding]:
    """Rules that those before them leave nothing."""
    before = diagram.false
    for place, entry in enumerate(ordered):
        here = diagram.of(entry.when)
        if diagram.possible(diagram.both(here, diagram.negated(before))) is False:
            shadows = [other.name for other in ordered[:place] if diagram.meets(other.when, entry.when)]
            verb = "comes" if len(shadows) == 1 else "come"
            message = f"rule {entry.name!r} is never reached: {', '.join(map(repr, shadows))} always {verb} first"
            yield Finding("unreachable", entry.name, message)
        before = diagram.either(before, here)
        if place < len(ordered) - 1 and diagram.possible(diagram.negated(here)) is False:
            message = f"rule {entry.name!r} always holds, so no rule after it counts"
            yield Finding("always", entry.name, message)


def _conflicts(ordered: Sequence[Named], diagram: Diagram) -> Iterator[Finding]:
    """Rules of one priority that do different things and can hold together where no rule of a higher one does."""
    higher = diagram.false
    for priority, entries in groupby(ordered, key=lambda entry: entry.rule.priority):
        level = list(entries)
        free = diagram.negated(higher)
        for first, second in combinations(level, 2):
            if first.rule.then == second.rule.then:
                continue
            both = diagram.both(free, diagram.both(diagram.of(first.when), diagram.of(second.when)))
            if diagram.possible(both):
                message = (
                    f"rules {first.name!r} and {second.name!r} have priority {priority} and can hold together "
                    f"({diagram.example(both)}); the one that is written first wins"
                )
                yield Finding("conflict", second.name, message)
        for entry in level:
            higher = diagram.either(higher, diagram.of(entry.when))


class Diagram:
    """Reduced ordered decision diagrams over the signals, under what is known about pairs of them.

    Nodes are integers; 0 is false and 1 is true. After LARGEST nodes `failed` is set and questions are answered None.
    """

    false, true = 0, 1

    def __init__(self, signals: Mapping[str, SignalSpec]) -> None:
        self._names = [name for name, spec in signals.items() if spec.when is None]
        self._level = {name: level for level, name in enumerate(self._names)}
        self._nodes: list[tuple[int, int, int]] = [(len(self._names), 0, 0), (len(self._names), 1, 1)]
        self._unique: dict[tuple[int, int, int], int] = {}
        self._memo: dict[tuple[int, int, int], int] = {}
        self._composed = composed(signals)
        self._made: dict[str, int] = {}
        self.failed = False
        self._facts = self.true
        for fact in facts({name: signals[name] for name in self._names}):
            self._facts = self.both(self._facts, self.of(fact))

    def of(self, tree: Expression) -> int:
        """The diagram of an expression."""
        if tree.kind == "name":
            if tree.name in self._level:
                return self._node(self._level[tree.name], 0, 1)
            if tree.name not in self._made:
                self._made[tree.name] = self.of(self._composed[tree.name])
            return self._made[tree.name]
        if tree.kind == "not":
            return self.negated(self.of(tree.parts[0]))
        if tree.kind == "and":
            made = self.true
            for part in tree.parts:
                made = self.both(made, self.of(part))
            return made
        if tree.kind == "or":
            made = self.false
            for part in tree.parts:
                made = self.either(made, self.of(part))
            return made
        return self.true if tree.kind == "true" else self.false

    def both(self, f: int, g: int) -> int:
        """f and g."""
        return self._choose(f, g, 0)

    def either(self, f: int, g: int) -> int:
        """f or g."""
        return self._choose(f, 1, g)

    def negated(self, f: int) -> int:
        """Not f."""
        return self._choose(f, 0, 1)

    def possible(self, f: int) -> bool | None:
        """Whether f can hold under the facts; None where the diagrams grew too large to tell."""
        held = self.both(f, self._facts)
        return None if self.failed else held != 0

    def meets(self, first: Expression, second: Expression) -> bool:
        """Whether both can hold at once."""
        return bool(self.possible(self.both(self.of(first), self.of(second))))

    def example(self, f: int) -> str:
        """Values under which f holds."""
        node, words = self.both(f, self._facts), []
        while node > 1:
            level, low, high = self._nodes[node]
            node = high or low
            words.append(self._names[level] if high else f"not {self._names[level]}")
        return ", ".join(words) or "always"

    def _choose(self, f: int, g: int, h: int) -> int:
        """If f then g else h."""
        if f == 1 or g == h:
            return g
        if f == 0:
            return h
        if g == 1 and h == 0:
            return f
        key = (f, g, h)
        if key not in self._memo:
            if len(self._nodes) > LARGEST:
                self.failed = True
                return 0
            level = min(self._nodes[n][0] for n in key)
            low, high = (self._choose(*(self._branch(n, level, side) for n in key)) for side in (1, 2))
            self._memo[key] = self._node(level, low, high)
        return self._memo[key]

    def _branch(self, node: int, level: int, side: int) -> int:
        return self._nodes[node][side] if self._nodes[node][0] == level else node

    def _node(self, level: int, low: int, high: int) -> int:
        if low == high:
            return low
        key = (level, low, high)
        if key not in self._unique:
            self._unique[key] = len(self._nodes)
            self._nodes.append(key)
        return self._unique[key]


def facts(signals: Mapping[str, SignalSpec]) -> Iterator[Expression]:
    """What holds for every request, whatever its text: about pairs of signals of one type."""
    for (a, first), (b, second) in combinations(signals.items(), 2):
        if first.type != second.type:
            continue
        one, two = Expression("name", a), Expression("name", b)
        if _implies(first, second):
            yield _or(_not(one), two)
        if _implies(second, first):
            yield _or(_not(two), one)
        if _disjoint(first, second):
            yield _or(_not(one), _not(two))
        if _exhaustive(first, second):
            yield _or(one, two)


_NUMERIC = ("length", "embedding", "contrast")


def _same_number(a: SignalSpec, b: SignalSpec) -> bool:
    return a.type in _NUMERIC and (a.examples, a.against, a.of, a.turns) == (b.examples, b.against, b.of, b.turns)


def _range(a: SignalSpec) -> tuple[float, float]:
    """The least and the largest number that match; tokens are whole."""
    if a.type != "length":
        return a.low, a.high
    return ceil(a.low) if isfinite(a.low) else a.low, floor(a.high) if isfinite(a.high) else a.high


def _same_words(a: SignalSpec, b: SignalSpec) -> bool:
    return a.type == b.type == "keyword" and (a.fuzzy, a.turns) == (b.fuzzy, b.turns)


def _words(a: SignalSpec) -> frozenset[str]:
    return frozenset(word.strip().lower() for word in a.words)


def _implies(a: SignalSpec, b: SignalSpec) -> bool:
    if _same_number(a, b):
        (low, high), (least, most) = _range(a), _range(b)
        return least <= low and high <= most
    for field in ("languages", "tenants"):
        if a.type == b.type and getattr(a, field):
            return set(getattr(a, field)) <= set(getattr(b, field))
    if a.type == "needs":
        return set(a.needs) >= set(b.needs)
    if _same_words(a, b):
        words, others = _words(a), _words(b)
        if a.match == b.match:
            return words <= others if a.match == "any" else words >= others
        return (a.match, b.match) == ("all", "any") and bool(words & others)
    return a == b


def _disjoint(a: SignalSpec, b: SignalSpec) -> bool:
    if _same_number(a, b):
        (low, high), (least, most) = _range(a), _range(b)
        return high < least or most < low
    if a.type in ("language", "tenant"):
        return not set(a.languages or a.tenants) & set(b.languages or b.tenants)
    if a.type == "conversation":
        return a.turns != b.turns
    if _same_words(a, b) and (a.match == "none") != (b.match == "none"):
        some, none = (b, a) if a.match == "none" else (a, b)
        return _words(some) <= _words(none) if some.match == "any" else bool(_words(some) & _words(none))
    return False


def _exhaustive(a: SignalSpec, b: SignalSpec) -> bool:
    """Whether one of two always holds."""
    if a.type == "conversation":
        return a.turns != b.turns
    if _same_words(a, b) and {a.match, b.match} == {"any", "none"}:
        some, none = (b, a) if a.match == "none" else (a, b)
        return _words(none) <= _words(some)
    if not _same_number(a, b):
        return False
    (low, high), (least, most) = sorted((_range(a), _range(b)))
    return low == float("-inf") and most == float("inf") and high >= least - (a.type == "length")


def _not(tree: Expression) -> Expression:
    return Expression("not", parts=(tree,))


def _or(*parts: Expression) -> Expression:
    return Expression("or", parts=parts)
