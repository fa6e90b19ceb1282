"""A model's own words for a request, for `turnout robustness`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout.experts.pool import Pool

ASK = (
    "Rewrite the request below in other words. Keep its meaning, every number, name and answer option. "
    "Write only the rewritten request, and do not answer it.\n\nRequest: {text}\n\nRewritten request:"
)
LONGEST = 1500  # characters; a small model loses its way in a longer text
ALIKE = 0.3  # part of the words that a paraphrase must keep to be believed


async def paraphrase(built: Pool, expert: str, texts: Sequence[str], at_once: int = 4) -> list[str | None]:
    """One paraphrase per text; None for a long text, a failed call, and a text that is repeated or replaced.

    Raises UnknownNameError for an expert that the pool does not have, and ExpertError where every call failed.
    """
    from turnout.collect.ask import Settings, ask, request
    from turnout.collect.tasks import Question
    from turnout.errors import ExpertError, UnknownNameError

    if expert not in built.experts:
        raise UnknownNameError("expert", expert, built.experts)
    asked, gate, settings = built.experts[expert], asyncio.Semaphore(at_once), Settings({"*": 512})
    clock, failures = asyncio.get_running_loop().time, list[ExpertError]()

    async def one(text: str) -> str | None:
        if len(text) > LONGEST:
            return None
        question = Question("paraphrase", ASK.format(text=text), "", "exact", lambda _: 0.0)
        async with gate:
            try:
                answer = await ask(asked, question, request(question, asked.arm, settings), settings, clock)
            except ExpertError as error:
                failures.append(error)
                return None
        return believable(text, answer.response)

    try:
        made = list(await asyncio.gather(*(one(text) for text in texts)))
    finally:
        await built.aclose()
    if failures and len(failures) == sum(len(text) <= LONGEST for text in texts):
        raise failures[0]
    return made


def believable(text: str, said: str) -> str | None:
    """The paraphrase, or None where it is the text itself, or shares too few words with it to mean the same.

    >>> believable("Who wrote the Odyssey?", "Which author wrote the Odyssey?")
    'Which author wrote the Odyssey?'
    >>> believable("Who wrote the Odyssey?", "Homer.") is None
    True
    """
    said = said.strip().strip('"')
    words, others = set(text.lower().split()), set(said.lower().split())
    if not said or said == text or len(words & others) < ALIKE * len(words) or len(said) > 3 * len(text) + 80:
        return None
    return said
