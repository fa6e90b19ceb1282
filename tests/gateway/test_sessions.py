"""Conversations by name and by their own prefix."""

from __future__ import annotations

import pytest

from turnout.gateway.body import Message, Part
from turnout.gateway.sessions import Keys, Sessions, Thread, keys_of


def talk(*texts: str) -> list[Message]:
    """Messages by turns, the user's first."""
    return [Message("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)]


def test_each_turn_finds_the_one_before() -> None:
    sessions = Sessions()
    for turn in (1, 3, 5):
        keys = keys_of(talk(*"abcde"[:turn]), None, None)
        found = sessions.find(keys)
        assert (found is None) == (turn == 1)
        sessions.keep(keys, found or Thread("first", f"expert-{turn}"))


def test_a_tool_loop_is_one_conversation() -> None:
    first = [Message("system", "be brief"), Message("user", "what time is it?")]
    then = [*first, Message("assistant", None), Message("tool", "noon")]
    assert keys_of(then, None, None).before == keys_of(first, None, None).after
    last = [*then, Message("assistant", "It is noon."), Message("user", "thanks")]
    assert keys_of(last, None, None).before == keys_of(then, None, None).after


def test_the_start_of_an_answer_is_not_an_answer() -> None:
    asked = talk("a")
    assert keys_of([*asked, Message("assistant", "I thi")], None, None) == keys_of(asked, None, None)


def test_parts_and_text_are_the_same_words() -> None:
    assert keys_of([Message("user", [Part("text", "hi")])], None, None) == keys_of(talk("hi"), None, None)


def test_users_and_histories_stay_apart() -> None:
    keys = {
        keys_of(talk(*texts), None, user).after for texts in ("a", "b", "abc", "adc") for user in (None, "u1", "u2")
    }
    assert len(keys) == 12


def test_a_name_is_enough() -> None:
    sessions = Sessions()
    sessions.keep(keys_of(talk("a"), "s1", None), Thread("s1", "x"))
    assert sessions.find(keys_of(talk("something else"), "s1", "anybody")) == Thread("s1", "x")
    assert sessions.find(keys_of(talk("a"), "s2", None)) is None


def test_the_longest_unused_goes_first() -> None:
    sessions = Sessions(capacity=2)
    for name in ("a", "b", "a", "c"):
        sessions.keep(Keys(name, name), Thread(name, "x"))
    assert len(sessions) == 2
    assert [sessions.find(Keys(name, name)) is not None for name in "abc"] == [True, False, True]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_new_conversation_has_no_past(turns: int) -> None:
    assert keys_of([Message("user", str(n)) for n in range(turns)], None, None).before is None
