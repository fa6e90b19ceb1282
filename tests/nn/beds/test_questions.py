"""Questions drawn by seed, and where the answer of a chat begins."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from turnout.errors import ConfigError
from turnout.nn.beds.questions import HELD_OUT, SEEN, SYSTEM, Question, chats, drawn

pytest.importorskip("reasoning_gym")


@pytest.mark.parametrize("tasks", [SEEN, HELD_OUT])
def test_a_seed_draws_its_own_questions_and_never_asks_what_was_trained_on(tasks: dict[str, object]) -> None:
    split, again, other = (drawn(tasks, seed, 8, 4) for seed in (0, 0, 1))
    assert split == again
    assert split != other
    assert len(split.train) == len(split.asked) == len(tasks)
    for train, asked in zip(split.train, split.asked, strict=True):
        prompts = [question.prompt for question in (*train, *asked)]
        assert (len(train), len(asked), len(set(prompts))) == (8, 4, 12)
        assert all(question.answer for question in (*train, *asked))


def test_held_out_tasks_are_other_tasks() -> None:
    assert not set(SEEN) & set(HELD_OUT)


def test_a_chat_ends_with_the_answer_and_the_end_of_the_turn(byte_tokenizer: Any) -> None:
    tokenizer = byte_tokenizer
    asked = Question("2 × 2?", "four")
    (chat,) = chats(tokenizer, [asked])
    answer = chat.ids_S[-chat.answer :]
    assert tokenizer.decode(answer[:-1]) == "four"
    assert int(answer[-1]) == tokenizer.eos_token_id
    before = tokenizer.decode(chat.ids_S[: -chat.answer])
    assert before == f"<|system|>{SYSTEM}<|im_end|><|user|>2 × 2?<|im_end|><|assistant|>"
    assert chat.ids_S.dtype == torch.int64


def test_without_reasoning_gym_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ConfigError, match=r"turnout\[nn-hub,collect\]"):
        drawn(SEEN, 0, 1, 1)


def test_more_questions_than_a_data_set_has_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"calendar_arithmetic|gcd"):
        drawn({"gcd": {"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 2}}, 0, 20, 20)
