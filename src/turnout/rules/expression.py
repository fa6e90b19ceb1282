"""Boolean expressions over names: `code and not (german or long)`.

Grammar: `or` binds weaker than `and`, `and` weaker than `not`; `true` and `false` are constants; names are letters,
digits, `_`, `-` and `.`, and start with a letter or `_`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from turnout.errors import ConfigError

_TOKEN = re.compile(r"\s*(?:([A-Za-z_][\w.-]*)|([()])|(\S))")
_WORDS = frozenset({"and", "or", "not", "true", "false"})
DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Expression:
    """A tree: a `name`, a constant (`true`, `false`), or `not`, `and`, `or` over `parts`."""

    kind: Literal["name", "true", "false", "not", "and", "or"]
    name: str = ""
    parts: tuple[Expression, ...] = ()

    def names(self) -> Iterator[str]:
        """Every name, as often as it stands there."""
        if self.kind == "name":
            yield self.name
        for part in self.parts:
            yield from part.names()

    def holds(self, value: Callable[[str], bool]) -> bool:
        """The truth value; parts are asked from left to right, and only until the answer is known.

        >>> parse("a or b").holds(lambda name: {"a": True}[name])
        True
        """
        if self.kind == "name":
            return value(self.name)
        if self.kind == "not":
            return not self.parts[0].holds(value)
        if self.kind == "and":
            return all(part.holds(value) for part in self.parts)
        if self.kind == "or":
            return any(part.holds(value) for part in self.parts)
        return self.kind == "true"

    def ordered(self, cost: Callable[[str], float]) -> Expression:
        """An equal tree in which cheap parts come first."""
        if not self.parts:
            return self
        parts = sorted((part.ordered(cost) for part in self.parts), key=lambda part: part.cost(cost))
        return Expression(self.kind, self.name, tuple(parts))

    def cost(self, cost: Callable[[str], float]) -> float:
        """What evaluating all of it would cost."""
        return sum(map(cost, set(self.names())))

    def __str__(self) -> str:
        if self.kind in ("true", "false", "name"):
            return self.name or self.kind
        if self.kind == "not":
            return f"not {_bracketed(self.parts[0], self.kind)}"
        return f" {self.kind} ".join(_bracketed(part, self.kind) for part in self.parts)


def _bracketed(part: Expression, within: str) -> str:
    weak = {"or": ("and", "not"), "and": ("not",)}.get(part.kind, ())
    same = part.kind == within and within in ("and", "or")
    return f"({part})" if within in weak or same else str(part)


def parse(text: str) -> Expression:
    """The tree of an expression. Raises ConfigError, with the place of the fault.

    >>> str(parse("a and (b or not c)"))
    'a and (b or not c)'
    >>> parse("a and")
    Traceback (most recent call last):
    turnout.errors.ConfigError: `a and`: a name is missing at the end
    """
    parser = _Parser(text)
    made = parser.either(0)
    if parser.word is not None:
        raise parser.fault(f"`and` or `or` is missing before {parser.word!r}")
    return made


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._text, self._tokens = text, list(_tokens(text))
        self._at = 0

    @property
    def word(self) -> str | None:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else None

    def fault(self, message: str) -> ConfigError:
        where = f" (character {self._tokens[self._at][1] + 1})" if self.word is not None else ""
        return ConfigError(f"`{self._text}`: {message}{where}")

    def either(self, depth: int) -> Expression:
        return self._chain("or", lambda: self._all(depth))

    def _all(self, depth: int) -> Expression:
        return self._chain("and", lambda: self._one(depth))

    def _chain(self, word: Literal["and", "or"], part: Callable[[], Expression]) -> Expression:
        parts = [part()]
        while self.word == word:
            self._at += 1
            parts.append(part())
        return parts[0] if len(parts) == 1 else Expression(word, parts=tuple(parts))

    def _one(self, depth: int) -> Expression:
        if depth > DEEPEST:
            raise self.fault(f"nested more than {DEEPEST} deep")
        word = self.word
        if word is None:
            raise self.fault("a name is missing at the end")
        if word in ("and", "or", ")"):
            raise self.fault(f"a name is missing before {word!r}")
        self._at += 1
        if word == "not":
            return Expression("not", parts=(self._one(depth + 1),))
        if word == "(":
            inner = self.either(depth + 1)
            if self.word != ")":
                raise self.fault("a closing bracket is missing")
            self._at += 1
            return inner
        if word == "true":
            return Expression("true")
        return Expression("false") if word == "false" else Expression("name", word)


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    for match in _TOKEN.finditer(text):
        if match[3]:
            raise ConfigError(f"`{text}`: unexpected {match[3]!r} at character {match.start(3) + 1}")
        yield match[1] or match[2], match.start(match.lastindex or 0)


def is_name(text: str) -> bool:
    """Whether a text can name a signal.

    >>> is_name("long"), is_name("and"), is_name("two words")
    (True, False, False)
    """
    match = _TOKEN.fullmatch(text)
    return match is not None and match[1] == text and text not in _WORDS
