"""Questions of reasoning-gym (Apache-2.0, generated) as chats with short answers, for beds with a language model.

Eight tasks are for training, four more are held out. A seed draws its own questions; no prompt is both trained on and
asked. Shape letters: S tokens of one chat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from turnout.errors import ConfigError

SYSTEM = "Answer only."
SEEN: Mapping[str, Mapping[str, Any]] = {
    "spell_backward": {},
    "letter_counting": {"max_words": 8},
    "word_sequence_reversal": {"min_words": 3, "max_words": 5},
    "caesar_cipher": {"min_words": 2, "max_words": 5},
    "prime_factorization": {},
    "complex_arithmetic": {},
    "family_relationships": {},
    "sentence_reordering": {},
}
HELD_OUT: Mapping[str, Mapping[str, Any]] = {
    "gcd": {},
    "simple_equations": {},
    "time_intervals": {},
    "base_conversion": {},
}


class Question(NamedTuple):
    """What is asked, and the answer."""

    prompt: str
    answer: str


class Chat(NamedTuple):
    """Token ids of a whole chat [S], and at how many of its end the answer stands, with the end of the turn."""

    ids_S: Tensor
    answer: int


@dataclass(frozen=True)
class Split:
    """Questions to train on and questions to ask, by task; no prompt is in both."""

    train: tuple[tuple[Question, ...], ...]
    asked: tuple[tuple[Question, ...], ...]


def drawn(tasks: Mapping[str, Mapping[str, Any]], seed: int, train: int, asked: int) -> Split:
    """`train` and `asked` questions of each task, drawn by seed. Raises ConfigError without reasoning-gym.

    >>> split = drawn({"spell_backward": {}}, seed=0, train=3, asked=2)
    >>> split.asked[0][0].prompt.partition(":")[0], len(split.train[0])
    ('Spell this word backward (example', 3)
    """
    found = [_distinct(name, options, seed, train + asked) for name, options in tasks.items()]
    return Split(tuple(each[:train] for each in found), tuple(each[train:] for each in found))


def gym() -> Any:
    """The library that makes the questions. Raises ConfigError where it is missing."""
    try:
        import reasoning_gym
    except ImportError as error:
        raise ConfigError("the questions come from reasoning-gym: pip install 'turnout[nn-hub,collect]'") from error
    return reasoning_gym


def _distinct(name: str, options: Mapping[str, Any], seed: int, count: int) -> tuple[Question, ...]:
    """The first `count` questions of a data set whose prompts differ."""
    found: dict[str, Question] = {}
    for entry in gym().create_dataset(name, size=4 * count, seed=seed, **options):
        prompt = entry["question"].strip()
        found.setdefault(prompt, Question(prompt, str(entry["answer"])))
        if len(found) == count:
            return tuple(found.values())
    raise ConfigError(f"{name} gave {len(found)} different questions, {count} were asked for")


def chats(tokenizer: Any, questions: Sequence[Question]) -> list[Chat]:
    """Each question and its answer through the model's own chat template, the turn closed as the template closes it."""
    return [_chat(tokenizer, question) for question in questions]


def _chat(tokenizer: Any, question: Question) -> Chat:
    said = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question.prompt}]
    before = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(before, add_special_tokens=False)["input_ids"]
    answer = [*tokenizer(question.answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return Chat(torch.tensor([*ids, *answer]), len(answer))
