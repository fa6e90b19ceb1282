"""Signals on outputs: how sure one answer is by its log-probabilities, several by their agreement.

Shape letters: N queries, M modes from the cheapest to the dearest, K answers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.features import Floats

_MARK = re.compile(r"(?:final answer|answer)\s*(?:is)?\s*[:=]|####", re.IGNORECASE)
_LETTER = re.compile(r"^\W*(?:option\s+)?([A-Za-z])(?:\)|\.|:|\s*$)|(?<!\w)\(([A-Za-z])\)", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def final_answer(text: str) -> str:
    """The answer of a response in a form in which equal answers are equal texts; "" where there is none.

    What stands after the last mark (`Answer:`, `####`), else the last line; of that a choice's letter, else its last
    number, else its letters and digits in lower case.

    >>> [final_answer(t) for t in ("so 3 * 4 = 12. Answer: $1,200.00", "The answer is: (b) Paris", "Hello\\n  World!")]
    ['1200', 'B', 'world']

    Limits: no unit, no equivalence of expressions; a list of numbers is known by its last one.
    """
    marks = list(_MARK.finditer(text))
    rest = text[marks[-1].end() :] if marks else ""
    lines = [line for line in (rest or text).strip().splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[0] if rest.strip() else lines[-1]
    letter = _LETTER.search(line)
    if letter:
        return (letter[1] or letter[2]).upper()
    numbers = _NUMBER.findall(line)
    if numbers:
        value = Decimal(numbers[-1].replace(",", "")).normalize()
        return f"{value + 0:f}"  # + 0 makes −0 the same as 0
    return "".join(re.findall(r"\w+", line.lower()))


def vote(answers: Sequence[str]) -> str:
    """The commonest answer; ties go to the one that was given first, and "" counts only among its own kind.

    >>> vote(["7", "8", "8"]), vote(["7", "8"]), vote(["", "", "8"])
    ('8', '7', '8')
    """
    given = [answer for answer in answers if answer]
    if not given:
        return ""
    counts = Counter(given)
    return max(given, key=lambda answer: (counts[answer], -given.index(answer)))


def agreement(answers: Sequence[str]) -> float:
    """The share of answers that say what most say, in [1 / K, 1]; an empty answer agrees with nothing.

    >>> agreement(["7", "7", "8", ""])
    0.5
    """
    given = Counter(answer for answer in answers if answer)
    return max(given.values()) / len(answers) if given else 0.0


def sigma(answers: Sequence[str]) -> float:
    """ACAR's (distinct − 1) / (K − 1): 0 where all agree, 1 where no two do; every empty answer is one of its own.

    >>> sigma(["7", "7", "7"]), sigma(["7", "7", "8"]), sigma(["7", "8", ""])
    (0.0, 0.5, 1.0)
    """
    if len(answers) < 2:
        return 0.0
    distinct = len({answer for answer in answers if answer}) + sum(not answer for answer in answers)
    return (distinct - 1) / (len(answers) - 1)


def certainty(mean_logprob: Any) -> Any:
    """The geometric mean probability of an answer's tokens, in [0, 1]; NaN stays NaN.

    >>> round(certainty(-0.5), 3)
    0.607
    """
    found = np.exp(np.minimum(mean_logprob, 0.0))
    return float(found) if np.ndim(found) == 0 else found


def verdict(masses: Mapping[str, float], true: Sequence[str], false: Sequence[str]) -> float:
    """PCC's certainty of a yes-or-no verdict from next-token probabilities, in [0, 1].

    1 where the two likeliest tokens say the same, else the difference of the classes' masses. Words are compared
    without case and surrounding spaces.

    >>> verdict({"True": 0.6, " true": 0.3, "False": 0.1}, ["true"], ["false"])
    1.0
    >>> round(verdict({"True": 0.6, "False": 0.4}, ["true"], ["false"]), 3)
    0.2
    """
    side = {word.strip().lower(): +1 for word in true} | {word.strip().lower(): -1 for word in false}
    said = [(p, side.get(token.strip().lower(), 0)) for token, p in masses.items()]
    top = [s for _, s in sorted(said, key=lambda pair: -pair[0])[:2]]
    if len(top) == 2 and top[0] == top[1] != 0:
        return 1.0
    return abs(sum(p * s for p, s in said))


def consistency(contradiction_KK: Floats) -> float:
    """PCC's 1 − mean probability of contradiction over pairs, both directions counted; of two answers: are they equal.

    >>> consistency(np.array([[0.0, 0.2], [0.4, 0.0]]))
    0.7
    """
    count = len(contradiction_KK)
    if count < 2:
        return 1.0
    off_KK = ~np.eye(count, dtype=bool)
    return float(1.0 - np.asarray(contradiction_KK)[off_KK].mean())


def harmonic(a: Any, b: Any) -> Any:
    """The harmonic mean, 0 where one is 0: how PCC combines certainty and consistency.

    >>> harmonic(0.5, 1.0) == 2 / 3, harmonic(0.0, 1.0)
    (True, 0.0)
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    found = np.where((a > 0) & (b > 0), 2 * a * b / np.maximum(a + b, 1e-12), 0.0)
    return float(found) if found.ndim == 0 else found


def hindsight(score_NM: Floats, cost_NM: Floats, enough: float = 0.0) -> NDArray[np.intp]:
    """The cheapest mode that was as good as any, within `enough`; where all failed that is the cheapest: (N,).

    The label that a difficulty classifier learns: `easy` where it is the first mode.

    >>> hindsight(np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]), np.array([[1.0, 5.0]] * 3)).tolist()
    [1, 0, 0]
    """
    good_NM = score_NM >= score_NM.max(axis=1, keepdims=True) - enough
    return np.asarray(np.where(good_NM, cost_NM, np.inf).argmin(axis=1), dtype=np.intp)


def stable(answers: Sequence[str], times: int = 2) -> bool:
    """Whether the last `times` steps of a chain of thought gave one and the same answer: it may stop.

    >>> stable(["5", "7", "7"]), stable(["7", ""]), stable(["7"])
    (True, False, False)
    """
    last = answers[-times:]
    return len(last) == times and bool(last[0]) and len(set(last)) == 1
