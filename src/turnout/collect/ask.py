"""One question to one expert: the request's bytes, and what is read from the reply."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import msgspec
import orjson

from turnout.collect.answers import Answer
from turnout.collect.tasks import Question
from turnout.errors import ConfigError, ExpertError
from turnout.experts.http import HttpExpert
from turnout.experts.patch import patch
from turnout.types import BYTES_PER_TOKEN, Arm, Call, Expert, Usage

TEMPLATE_TOKENS = 64  # what a chat template adds to a prompt, generously


@dataclass(frozen=True, slots=True)
class Settings:
    """How experts are asked. `max_tokens` maps patterns of expert ids to limits; the last match counts.

    `top_logprobs` None asks for no log-probabilities, 0 for the chosen tokens' alone.
    """

    max_tokens: Mapping[str, int]
    temperature: float = 0.0
    top_logprobs: int | None = None
    deadline_s: float = 600.0

    def limit(self, expert: str) -> int:
        """The most completion tokens for an expert. Raises ConfigError where no pattern matches.

        >>> Settings({"*": 96, "*+steps": 256}).limit("small+steps")
        256
        """
        found = [limit for pattern, limit in self.max_tokens.items() if fnmatchcase(expert, pattern)]
        if not found or found[-1] < 1:
            raise ConfigError(f"`max_tokens` must be at least 1 for {expert}, got {found[-1] if found else 'nothing'}")
        return found[-1]

    def of(self, arm: Arm) -> dict[str, Any]:
        """What makes an answer of this expert comparable with another."""
        how = {"model": arm.model, "suffix": arm.how.suffix, "body": dict(arm.how.body)}
        limits = {"max_tokens": self.limit(arm.id), "temperature": self.temperature}
        return {**how, **limits, "top_logprobs": self.top_logprobs if _gives_logprobs(arm) else None}


class Refused(ExpertError):
    """Upstream answered with an error status, which costs nothing."""


def request(question: Question, arm: Arm, settings: Settings) -> bytes:
    """The JSON body, changed the way serving changes it."""
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": question.prompt.encode("utf-8", "replace").decode()}],
        "max_tokens": settings.limit(arm.id),
        "temperature": settings.temperature,
    }
    if settings.top_logprobs is not None and _gives_logprobs(arm):
        body |= {"logprobs": True, **({"top_logprobs": settings.top_logprobs} if settings.top_logprobs else {})}
    return patch(orjson.dumps(body), model=arm.model or arm.id, suffix=arm.how.suffix, fields=arm.how.body)


def most(body: bytes, arm: Arm, settings: Settings) -> float:
    """The most a call can cost, in US dollars: no tokenizer makes more tokens than there are bytes."""
    fields = orjson.loads(body)
    limits = [fields.get(name) for name in ("max_tokens", "max_completion_tokens")]
    completion = max([limit for limit in limits if isinstance(limit, int)], default=settings.limit(arm.id))
    return arm.price.cost(len(body) + TEMPLATE_TOKENS, completion)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A whole reply and what it took. Cost in US dollars, latency in seconds; `guessed` marks unreported tokens."""

    text: str
    finish_reason: str | None
    logprobs: dict[str, float] | None
    prompt_tokens: int
    completion_tokens: int
    guessed: bool
    cost: float
    latency: float


async def exchange(expert: Expert, body: bytes, deadline_s: float, clock: Callable[[], float]) -> Exchange:
    """One call and its whole reply. Raises ExpertError."""
    began = clock()
    reply = await expert.call(Call(body, deadline_s=deadline_s))
    try:
        data = b"".join([chunk async for chunk in reply.body])
    finally:
        await reply.aclose()
    latency = clock() - began
    if reply.status >= 400:
        said = data.decode("utf-8", "replace")
        said = (expert.conceal(said) if isinstance(expert, HttpExpert) else said)[:200]
        raise Refused(f"{expert.arm.id} answered {reply.status}: {said}", expert=expert.arm.id, status=reply.status)
    text, finish, logprobs = read(data, expert.arm.id)
    prompt, completion, guessed = _tokens(reply.settle(), body, text)
    cost = expert.arm.price.cost(prompt, completion)
    return Exchange(text, finish, logprobs, prompt, completion, guessed, cost, latency)


async def ask(
    expert: Expert, question: Question, body: bytes, settings: Settings, clock: Callable[[], float]
) -> Answer:
    """The answer, not graded yet. Raises ExpertError."""
    found = await exchange(expert, body, settings.deadline_s, clock)
    return Answer(
        query_id=question.id,
        expert=expert.arm.id,
        response=found.text,
        finish_reason=found.finish_reason,
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        guessed=found.guessed,
        cost=found.cost,
        latency=found.latency,
        logprobs=found.logprobs,
    )


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]


_COMPLETION = msgspec.json.Decoder(_Completion)


def read(data: bytes, expert: str = "") -> tuple[str, str | None, dict[str, float] | None]:
    """Text, finish reason and log-probability signals of a chat completion. Raises ExpertError."""
    try:
        choices = _COMPLETION.decode(data).choices
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ExpertError(f"{expert} answered garbage: {error}", expert=expert) from error
    if not choices:
        raise ExpertError(f"{expert} answered without choices", expert=expert)
    first = choices[0]
    content = (first.logprobs or {}).get("content")
    try:
        signals = confidence(content) if content else None
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ExpertError(f"{expert} answered garbage for log-probabilities", expert=expert) from error
    return first.message.content or "", first.finish_reason, signals


def confidence(tokens: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Signals from token log-probabilities: their mean and minimum; with alternatives, the entropy (nats) of the first
    token and the mean, over the listed alternatives renormalised.

    >>> confidence([{"logprob": -0.5}, {"logprob": -1.5}])
    {'logprob_mean': -1.0, 'logprob_min': -1.5}
    """
    chosen = [float(token["logprob"]) for token in tokens if isinstance(token.get("logprob"), (int, float))]
    if not chosen:
        return {}
    found = {"logprob_mean": math.fsum(chosen) / len(chosen), "logprob_min": min(chosen)}
    entropies = [_entropy(token["top_logprobs"]) for token in tokens if len(token.get("top_logprobs") or ()) > 1]
    if entropies:
        found |= {"entropy_first": entropies[0], "entropy_mean": math.fsum(entropies) / len(entropies)}
    return found


def _entropy(alternatives: Sequence[Mapping[str, Any]]) -> float:
    weights = [math.exp(min(0.0, float(one["logprob"]))) for one in alternatives]
    total = math.fsum(weights) or 1.0
    return -math.fsum(w / total * math.log(w / total) for w in weights if w > 0)


def _tokens(usage: Usage, body: bytes, text: str) -> tuple[int, int, bool]:
    reported = usage.prompt_tokens is not None and usage.completion_tokens is not None
    prompt = usage.prompt_tokens if usage.prompt_tokens is not None else int(len(body) / BYTES_PER_TOKEN)
    answer = usage.completion_tokens
    return prompt, int(len(text.encode()) / BYTES_PER_TOKEN) if answer is None else answer, not reported


def _gives_logprobs(arm: Arm) -> bool:
    return "logprobs" in arm.limits.features
