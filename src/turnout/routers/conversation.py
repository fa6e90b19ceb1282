"""What signals read of a conversation: its last user turn, and where that says little, what went before."""

from __future__ import annotations

import re
from collections.abc import Sequence

WORDS, FRAGMENT = 12, 3  # a turn of fewer words than the first may lean on earlier ones; up to the second it must
READ = 900  # characters of earlier turns; signals read 1,000 of either end of a text
TOPICS = 12  # words that sum up the turns that are not read whole, and tools that are named
_WORD, _LETTERS = re.compile(r"[^\W\d_]{4,}"), re.compile(r"[^\W\d_]+")
_OPENERS = frozenset(("and", "but", "or", "so", "then", "also", "now", "ok", "okay", "yes", "no"))
_POINTING = frozenset(
    re.findall(
        r"\w+",
        "it its they them their he him his she her this that these those such "
        "same another again instead more else there",
    )
)
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """
that this with have from they will would there their what about which when make like time just know take people into
year your good some could them other than then look only come over think also back after work first well even want
because these give most please thanks thank should where does were been being here very much more
""",
    )
)


def leans(turn: str) -> bool:
    """Whether a turn says little without those before it: a fragment, or short with a word that points back.

    >>> leans("And in Rust?"), leans("How many did they sell?"), leans("Who wrote the Odyssey?")
    (True, True, False)
    """
    words = turn.lower().split()
    if len(words) <= FRAGMENT:
        return True
    return len(words) < WORDS and (words[0] in _OPENERS or not _POINTING.isdisjoint(_LETTERS.findall(turn.lower())))


def conversation_text(turns: Sequence[str], tools: Sequence[str] = ()) -> str:
    """The text to route: the last turn alone where it stands by itself, else with earlier turns, nearest last.

    Earlier turns that do not fit are summed up by their most frequent longer words, and the names of `tools` that are
    in use come first, so that both ends of the text hold what matters most.

    >>> conversation_text(["How do I sort a list in Python, newest entry first?", "And in Rust?"])
    'How do I sort a list in Python, newest entry first?\\n\\nAnd in Rust?'
    """
    if not turns:
        return ""
    last = turns[-1]
    if len(turns) == 1 or not leans(last):
        return with_tools(last, tools)
    kept, left = [last], READ
    earlier = list(turns[:-1])
    while earlier and left > 0:
        turn = earlier.pop()
        kept.append(turn[-left:])
        left -= len(turn)
    topics = _topics(earlier)
    return with_tools("\n\n".join([*([topics] if topics else []), *reversed(kept)]), tools)


def with_tools(text: str, tools: Sequence[str]) -> str:
    """The text to route where tools are in use: the last ones' names come first.

    >>> with_tools("And tomorrow?", ["clock", "weather"])
    'Tools: clock, weather\\n\\nAnd tomorrow?'
    """
    return f"Tools: {', '.join(tools[-TOPICS:])}\n\n{text}" if tools else text


def _topics(turns: Sequence[str]) -> str:
    counts: dict[str, int] = {}
    for turn in turns:
        for word in _WORD.findall(turn[:READ].lower()):
            if word not in _COMMON:
                counts[word] = counts.get(word, 0) + 1
    return " ".join(sorted(counts, key=lambda word: -counts[word])[:TOPICS])
