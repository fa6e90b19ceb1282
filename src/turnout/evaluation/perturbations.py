"""Other ways to write the same request: case, white space, instructions around it, option order, courtesy, typos.

Every change is a pure function of a text and a seed; a text that a change does not apply to comes back as None.
None of them shares words or code with what `signals.smoothed` folds away, except by what English says.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

Change = Callable[[str, random.Random], str | None]

WRAPPERS = (
    ("You are a helpful assistant. Answer the following question.\n\n", ""),
    ("### Instruction:\n", "\n\n### Response:\n"),
    ("Read the text below and reply as well as you can.\n\n", "\n\nTake a deep breath before replying."),
    ("Question: ", "\nAnswer:"),
    ("<task>\n", "\n</task>\nReply with the result only."),
)
COURTESIES = (
    ("Could you please help me with this? ", " Thank you!"),
    ("Hello! I hope you are well. I was wondering: ", ""),
    ("Please ", " Many thanks in advance."),
    ("Hi there, quick one for you. ", " I'd really appreciate it."),
    ("Sorry to bother you, but ", " Cheers!"),
)
TYPO_RATE = 0.03  # of all letters: about one word in seven
_OPTIONS = re.compile(r"(?:^|\n)[(\[]?([A-H])([.):\]]+)[ \t]+([^\n]+)(?=\n|$)")


def lower(text: str, _: random.Random) -> str | None:
    """All lower case."""
    return _changed(text, text.lower())


def upper(text: str, _: random.Random) -> str | None:
    """All capitals."""
    return _changed(text, text.upper())


def space(text: str, rng: random.Random) -> str | None:
    """Doubled spaces and line ends here and there, and blank lines around."""
    words = re.split(r"([ \n])", text)
    doubled = "".join(part * 2 if part in {" ", "\n"} and rng.random() < 0.3 else part for part in words)
    return _changed(text, f"\n{doubled}\n\n")


def instruction(text: str, rng: random.Random) -> str | None:
    """Boilerplate of a prompt template around the request."""
    before, after = rng.choice(WRAPPERS)
    return f"{before}{text}{after}"


def courtesy(text: str, rng: random.Random) -> str | None:
    """A polite opening, mostly with thanks."""
    before, after = rng.choice(COURTESIES)
    return f"{before}{text}{after}"


def options(text: str, rng: random.Random) -> str | None:
    """The options of a multiple choice in another order; None where there are not at least two on lines of their own.

    >>> options("Who?\\nA. Homer\\nB. Ovid", random.Random(0))
    'Who?\\nA. Ovid\\nB. Homer'
    """
    found = list(_OPTIONS.finditer(text))
    if len(found) < 2 or [match[1] for match in found] != [chr(65 + i) for i in range(len(found))]:
        return None
    words = [match[3] for match in found]
    mixed = words[1:] + words[:1] if len(words) == 2 else rng.sample(words, len(words))
    made, end = [], 0
    for match, other in zip(found, mixed, strict=True):
        made += [text[end : match.start(3)], other]
        end = match.end(3)
    return _changed(text, "".join([*made, text[end:]]))


def typos(text: str, rng: random.Random) -> str | None:
    """Letters left out, doubled or swapped with their neighbour, 3 % of them."""
    made, i = [], 0
    while i < len(text):
        kind = rng.randrange(3) if text[i].isalpha() and rng.random() < TYPO_RATE else -1
        if kind == 0 and i + 1 < len(text) and text[i + 1].isalpha():
            made += [text[i + 1], text[i]]
            i += 1
        elif kind == 1:
            made += [text[i], text[i]]
        elif kind in {-1, 0}:
            made.append(text[i])
        i += 1
    return _changed(text, "".join(made))


def punctuation(text: str, _: random.Random) -> str | None:
    """Without its last mark, and with straight quotes made round."""
    return _changed(text, re.sub(r"[.?!:]\s*$", "", text).replace("'", "’").replace(' "', " “").replace('"', "”"))


PERTURBATIONS: dict[str, Change] = {
    "lower case": lower,
    "capitals": upper,
    "white space": space,
    "punctuation": punctuation,
    "instruction": instruction,
    "courtesy": courtesy,
    "option order": options,
    "typos": typos,
}


def perturb(name: str, texts: list[str], seed: int) -> list[str | None]:
    """One change of every text; text n is changed with its own random numbers."""
    change = PERTURBATIONS[name]
    return [change(text, random.Random(f"{seed}/{name}/{n}")) for n, text in enumerate(texts)]


def _changed(text: str, made: str) -> str | None:
    return None if made == text else made
