from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.errors import ConfigError
from turnout.rules.expression import Expression, is_name, parse

NAMES = ("a", "b", "c-1", "d.e")


def trees() -> st.SearchStrategy[Expression]:
    leaves = st.one_of(
        st.sampled_from(NAMES).map(lambda name: Expression("name", name)),
        st.sampled_from(["true", "false"]).map(Expression),  # type: ignore[arg-type]
    )
    return st.recursive(
        leaves,
        lambda part: st.one_of(
            part.map(lambda one: Expression("not", parts=(one,))),
            st.tuples(st.sampled_from(["and", "or"]), st.lists(part, min_size=2, max_size=3)).map(
                lambda made: Expression(made[0], parts=tuple(made[1]))  # type: ignore[arg-type]
            ),
        ),
        max_leaves=12,
    )


def truth(tree: Expression, world: dict[str, bool]) -> bool:
    """What the text says in Python's own words."""
    text = str(tree).replace("true", "True").replace("false", "False")
    for n, name in enumerate(NAMES):
        text = text.replace(name, f"v{n}") if len(name) > 1 else text
    names = {f"v{n}" if len(name) > 1 else name: world[name] for n, name in enumerate(NAMES)}
    return bool(eval(text, {}, names))


@given(trees(), st.fixed_dictionaries({name: st.booleans() for name in NAMES}))
def test_a_parsed_text_means_what_python_means(tree: Expression, world: dict[str, bool]) -> None:
    wanted = truth(tree, world)
    assert tree.holds(world.__getitem__) == wanted
    assert parse(str(tree)).holds(world.__getitem__) == wanted
    assert tree.ordered(lambda name: float(ord(name[0]))).holds(world.__getitem__) == wanted


def test_cheap_parts_are_asked_first_and_only_until_the_answer_is_known() -> None:
    asked: list[str] = []

    def value(name: str) -> bool:
        asked.append(name)
        return name == "cheap"

    cost = {"cheap": 1.0, "dear": 9.0, "middling": 5.0}.__getitem__
    assert parse("dear or middling or cheap").ordered(cost).holds(value)
    assert not parse("dear and (middling and cheap)").ordered(cost).holds(value)
    assert asked == ["cheap", "cheap", "middling"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a name is missing at the end"),
        ("a b", "`and` or `or` is missing before 'b' (character 3)"),
        ("(a or b", "a closing bracket is missing"),
        ("a or or b", "a name is missing before 'or' (character 6)"),
        ("a & b", "unexpected '&' at character 3"),
        ("not", "a name is missing at the end"),
        ("(" * 60 + "a", "nested more than 50 deep"),
    ],
)
def test_a_bad_expression_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert message in str(error.value)


@given(st.text(max_size=30))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        tree = parse(text)
    except ConfigError:
        return
    assert parse(str(tree)) == tree or set(parse(str(tree)).names()) == set(tree.names())


def test_names() -> None:
    assert [is_name(text) for text in ("a", "_x.y-1", "or", "1a", "a b", "")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
