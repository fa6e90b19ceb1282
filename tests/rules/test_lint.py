from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.errors import ConfigError
from turnout.routers.conditions import Conditions, View
from turnout.rules import Rule, SignalSpec, Then, check, lint, parse
from turnout.rules.lint import Diagram, facts
from turnout.rules.spec import SignalSpec as Spec
from turnout.types import Request

WORDS = {name: SignalSpec("keyword", words=(name * 3,)) for name in "abcd"}
GO = Then(expert="big")
HARD_AND_EASY = {
    "hard": Spec("contrast", of="complexity", min=0.1),
    "easy": Spec("contrast", of="complexity", max=-0.1),
}


def rule(when: str, then: Then = GO, **options: object) -> Rule:
    return Rule(when, then, **options)  # type: ignore[arg-type]


def kinds(signals: dict[str, SignalSpec], *rules: Rule) -> list[tuple[str, str]]:
    return [(finding.kind, finding.rule) for finding in lint(signals, rules)]


def test_a_rule_that_others_cover_is_unreachable() -> None:
    rules = (rule("a", name="one"), rule("not a and b", name="two"), rule("a and b or b", name="three"))
    found = lint({name: WORDS[name] for name in "ab"}, rules)
    assert [(f.kind, f.rule) for f in found] == [("unreachable", "three")]
    assert "'one', 'two' always come first" in found[0].message


def test_priority_decides_who_comes_first() -> None:
    first, last = rule("a or b", Then(lam=1.0), name="wide"), rule("a", name="narrow", priority=5)
    assert kinds({name: WORDS[name] for name in "ab"}, first, last) == []
    assert [entry.name for entry in check(WORDS, (first, last))] == ["narrow", "wide"]


def test_a_rule_that_always_holds_ends_the_list() -> None:
    assert ("always", "all") in kinds(WORDS, rule("a or not a", name="all"), rule("b", Then(floor=0.5), name="x"))


def test_equal_priorities_that_meet_are_a_conflict_with_an_example() -> None:
    found = lint(WORDS, [rule("a", name="one"), rule("b", Then(refuse="no"), name="two")])
    conflict = next(f for f in found if f.kind == "conflict")
    assert "can hold together (a, b" in conflict.message
    assert ("conflict", "two") not in kinds(WORDS, rule("a", name="one"), rule("b and not a", Then(lam=2), name="two"))


def test_unused_signals_are_told() -> None:
    signals = {**WORDS, "both": SignalSpec("when", when="a and b")}
    assert [f.message for f in lint(signals, [rule("both")])] == [
        "signal 'c' stands in no rule",
        "signal 'd' stands in no rule",
    ]


@pytest.mark.parametrize(
    ("signals", "when"),
    [
        ({"short": Spec("length", max=10), "long": Spec("length", min=11)}, "short and long"),
        ({"de": Spec("language", languages=("de",)), "fr": Spec("language", languages=("fr",))}, "de and fr"),
        ({"one": Spec("tenant", tenants=("x",)), "two": Spec("tenant", tenants=("y",))}, "one and two"),
        ({"few": Spec("keyword", words=("a",)), "more": Spec("keyword", words=("A", "b"))}, "few and not more"),
        ({"on": Spec("keyword", words=("a",)), "no": Spec("keyword", words=("a",), match="none")}, "on and no"),
        (HARD_AND_EASY, "hard and easy"),
        ({"low": Spec("length", max=10), "high": Spec("length", min=5)}, "not low and not high"),
        ({"t": Spec("needs", needs=("tools",)), "ti": Spec("needs", needs=("tools", "images"))}, "ti and not t"),
        ({"a": WORDS["a"]}, "a and not a"),
        ({"a": WORDS["a"], "both": Spec("when", when="a and false")}, "both"),
    ],
)  # fmt: skip
def test_a_condition_that_contradicts_itself_is_refused(signals: dict[str, SignalSpec], when: str) -> None:
    with pytest.raises(ConfigError, match="can never hold; it contradicts itself"):
        check(signals, [rule(when)])


@pytest.mark.parametrize(
    ("signals", "rules", "message"),
    [
        ({"code": WORDS["a"]}, [rule("cod")], "rule 'rule 1': unknown signal 'cod'; did you mean 'code'?"),
        ({"x": Spec("when", when="cod"), "code": WORDS["a"]}, [], "`router.signals.x`: unknown signal 'cod'"),
        ({"x": Spec("when", when="x")}, [], "a circle: x → x"),
        ({"x": Spec("when", when="y"), "y": Spec("when", when="a or x"), **WORDS}, [], "x → y → x"),
        (WORDS, [rule("a", name="n"), rule("b", name="n")], "two rules have the name 'n'"),
        (WORDS, [rule("a", Then())], "`then` is empty"),
        (WORDS, [rule("a", Then(expert="x", lam=1.0))], "`expert` stands alone, but `lam` is there too"),
        (WORDS, [rule("a", Then(lam=1.0, floor=0.5))], "two policies"),
        (WORDS, [rule("a", Then(floor=1.5))], "`floor` must be in [0, 1]"),
        (WORDS, [rule("a", Then(among=("x",), avoid=("x",)))], "`avoid` leaves none of `among`"),
        ({"a b": WORDS["a"]}, [], "'a b' cannot stand in a condition"),
        ({"x": Spec("length")}, [], "a length signal needs `min` or `max`"),
        ({"x": Spec("length", min=5, max=2)}, [], "nothing lies in [5, 2]"),
        ({"x": Spec("keyword")}, [], "a keyword signal needs `words`"),
        ({"x": Spec("keyword", words=("a",), pattern="b")}, [], "a keyword signal takes no `pattern`"),
        ({"x": Spec("regex", pattern="(")}, [], "the pattern '(' is not valid"),
        ({"x": Spec("language", languages=("ge",))}, [], "unknown language 'ge'"),
        ({"x": Spec("needs", needs=("tool",))}, [], "unknown feature 'tool'; did you mean 'tools'?"),
        ({"x": Spec("contrast", min=0.1)}, [], "either `of`, or `examples` and `against`"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(signals: dict[str, SignalSpec], rules: list[Rule], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(signals, rules)
    assert message in str(error.value)


def expressions() -> st.SearchStrategy[str]:
    return st.recursive(
        st.sampled_from("abcd"),
        lambda part: st.one_of(
            part.map(lambda one: f"not ({one})"),
            st.tuples(part, st.sampled_from(["and", "or"]), part).map(
                lambda made: f"({made[0]}) {made[1]} ({made[2]})"
            ),
        ),
        max_leaves=8,
    )


@settings(max_examples=200)
@given(st.lists(st.tuples(expressions(), st.integers(0, 2)), min_size=1, max_size=5))
def test_the_linter_agrees_with_the_truth_table(written: list[tuple[str, int]]) -> None:
    """Every world of four signals, one by one, against what the diagrams say."""
    rules = [rule(when, Then(lam=float(n)), name=f"r{n}", priority=p) for n, (when, p) in enumerate(written)]
    worlds = [dict(zip("abcd", values, strict=True)) for values in product([False, True], repeat=4)]
    holds = {r.name: [parse(r.when).holds(world.__getitem__) for world in worlds] for r in rules}
    if not all(map(any, holds.values())):
        with pytest.raises(ConfigError, match="contradicts itself"):
            check(WORDS, rules)
        return
    ordered = [entry.name for entry in check(WORDS, rules)]
    assert ordered == sorted(ordered, key=lambda name: (-rules[int(name[1:])].priority, int(name[1:])))
    winners = {next((name for name in ordered if holds[name][w]), None) for w in range(len(worlds))}
    found = lint(WORDS, rules)
    assert {f.rule for f in found if f.kind == "unreachable"} == set(ordered) - winners
    level = {name: rules[int(name[1:])].priority for name in ordered}
    first = [max((level[name] for name in ordered if holds[name][w]), default=None) for w in range(len(worlds))]
    meet = {
        max(one, two, key=ordered.index)
        for one, two in product(ordered, ordered)
        if one != two and level[one] == level[two]
        for w in range(len(worlds))
        if holds[one][w] and holds[two][w] and first[w] == level[one]
    }
    assert {f.rule for f in found if f.kind == "conflict"} == meet


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=4), st.integers(-1, 10))
def test_what_is_known_of_ranges_is_true_of_every_length(ranges: list[tuple[int, int]], tokens: int) -> None:
    signals = {f"s{n}": Spec("length", min=min(r), max=max(r)) for n, r in enumerate(ranges)}
    world = {name: spec.low <= tokens <= spec.high for name, spec in signals.items()}
    assert all(fact.holds(world.__getitem__) for fact in facts(signals))


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from("abc"), min_size=1), st.sampled_from(["any", "all", "none"])),
        min_size=2,
        max_size=4,
    ),
    st.sets(st.sampled_from("abc")),
)
def test_what_is_known_of_words_is_true_of_every_text(written: list[tuple[set[str], str]], text: set[str]) -> None:
    signals = {f"s{n}": Spec("keyword", words=tuple(words), match=match) for n, (words, match) in enumerate(written)}
    conditions, view = Conditions(signals), View(Request(" ".join(sorted(text))))
    assert all(fact.holds(lambda name: conditions.holds(name, view)) for fact in facts(signals))


FIRST = {"first": Spec("conversation"), "later": Spec("conversation", turns=True)}
SIZES = {"short": Spec("length", max=100), "long": Spec("length", min=101)}
PRESENT = {"some": Spec("keyword", words=("a", "b")), "none": Spec("keyword", words=("a", "b"), match="none")}


@pytest.mark.parametrize("signals", [FIRST, SIZES, PRESENT])
def test_signals_that_are_each_others_opposite_are_known_as_such(signals: dict[str, SignalSpec]) -> None:
    one, other = signals
    assert kinds(signals, rule(one), rule(other, Then(lam=1))) == []
    assert kinds(signals, rule(f"not {one}"), rule(f"not {other}", Then(lam=1))) == []
    third = rule("true", Then(lam=2), name="third", priority=-1)
    assert ("unreachable", "third") in kinds(signals, rule(one), rule(other, Then(lam=1)), third)


def test_a_rule_of_higher_priority_settles_a_conflict() -> None:
    rules = (rule("a", name="x"), rule("b", Then(lam=1), name="y"))
    unused = [("unused", ""), ("unused", "")]
    assert kinds(WORDS, *rules) == [("conflict", "y"), *unused]
    assert kinds(WORDS, *rules, rule("a and b", Then(lam=2), name="both", priority=1)) == unused


def test_a_chain_of_composed_signals_stays_small() -> None:
    """Each doubles the one before; written out, the last would have 2**60 names."""
    signals = {"a": WORDS["a"], "b": WORDS["b"]}
    signals |= {"s0": Spec("when", when="a or b")}
    signals |= {f"s{n}": Spec("when", when=f"s{n - 1} and (s{n - 1} or a)") for n in range(1, 60)}
    assert not Diagram(signals).failed
    assert kinds(signals, rule("s59", name="x"), rule("a and s3", Then(lam=1), name="y"))[0] == ("unreachable", "y")
