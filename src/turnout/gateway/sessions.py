"""Which expert serves a conversation: a bounded map, least recently used first out.

A conversation is known by the name its client gives it (`x-turnout-session`, or `metadata.session_id`), else by its own
prefix: what was asked up to the last answer is what the gateway saw when it gave that answer. `user` salts the prefix,
so that two users with the same opening stay apart.

Limits: in memory, lost at restart. Two long texts that differ only in their middle count as one. A client that rewrites
or trims its history without a session name starts anew, and two nameless conversations of one user with the same
questions and answers-so-far share a thread until they differ.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from turnout.gateway.body import Message

GIST = 2048
WARM_S = 300.0  # how long providers keep a prefix in their cache, at least


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation: its name in traces, the expert that last answered, and when (on the gateway's clock)."""

    session: str
    expert: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Keys:
    """Where to look the conversation up (None: it has just begun), and where to find it next time."""

    before: Hashable | None
    after: Hashable


class Sessions:
    """The map from conversations to threads."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._threads: OrderedDict[Hashable, Thread] = OrderedDict()

    def __len__(self) -> int:
        return len(self._threads)

    def find(self, keys: Keys) -> Thread | None:
        """The conversation's thread so far, or None."""
        return None if keys.before is None else self._threads.get(keys.before)

    def keep(self, keys: Keys, thread: Thread) -> None:
        """Remember who answered."""
        self._threads[keys.after] = thread
        self._threads.move_to_end(keys.after)
        if len(self._threads) > self._capacity:
            self._threads.popitem(last=False)


def _gist(text: str) -> Hashable:
    """Enough of a text to tell it from another: hashing all of a long document would cost as much as parsing it."""
    return text if len(text) <= 2 * GIST else (len(text), text[:GIST], text[-GIST:])


def keys_of(messages: Sequence[Message], name: str | None, user: str | None) -> Keys:
    """The keys of a conversation of N messages.

    >>> first = [Message("user", "hi")]
    >>> later = [*first, Message("assistant", "hello"), Message("user", "and now?")]
    >>> keys_of(later, None, None).before == keys_of(first, None, None).after
    True
    """
    if name:
        key = ("name", name)
        return Keys(key, key)
    if messages[-1].role == "assistant":
        messages = messages[:-1]  # the start of an answer that is asked for now, not one that was given
    answered = max((n for n, message in enumerate(messages) if message.role == "assistant"), default=None)
    value: Hashable = hash(user)
    before = None
    for n, message in enumerate(messages):
        if n == answered:
            before = value
        value = hash((value, message.role, _gist(message.text())))
    return Keys(before, value)
