"""What the gateway reads of a chat-completions body: typed, validated, and never written back.

The routing text is the text of the last user turn, with those before it where it leans on them. The system prompt is
left out: it is mostly the same for all of an application's requests, so it would pull every prompt towards one point of
the signals' space, and the outcome logs that routers are fitted on hold the question alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from turnout.errors import RequestError
from turnout.experts.sse import MOST_TOKENS
from turnout.routers.conversation import conversation_text, with_tools

IMAGE_BYTES = 4096  # about a thousand tokens, what vision models charge for one picture
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
TEXT_PARTS = frozenset({"text", "refusal"})
UNKNOWN_JSON = "the body is not valid JSON"


class Part(msgspec.Struct):
    """One piece of a message's content; only text is read."""

    type: str
    text: str | None = None


class Message(msgspec.Struct):
    """One message; content is text, parts, or null beside tool calls, which are left as they came."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()

    def text(self) -> str:
        """The text of all parts."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or () if part.text)


class Function(msgspec.Struct):
    """What a tool call names."""

    name: str


class ToolCall(msgspec.Struct):
    """An assistant's call of a function; other kinds of tools have none."""

    function: Function | None = None


class StreamOptions(msgspec.Struct):
    """How the client wants its stream."""

    include_usage: bool | None = None


class ResponseFormat(msgspec.Struct):
    """The wanted form of the answer; `text` asks for nothing special."""

    type: str


class Metadata(msgspec.Struct):
    """The client's own labels; one of them may name the conversation."""

    session_id: str | None = None


class Body(msgspec.Struct):
    """The fields that routing, limits and streaming depend on. All others pass unread."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[msgspec.Raw] | None = None
    functions: list[msgspec.Raw] | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    user: str | None = None
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """A valid body and what follows from it. `size` estimates the prompt in bytes, pictures at a flat rate."""

    body: Body
    text: str
    needs: frozenset[str]
    size: int

    @property
    def max_tokens(self) -> int | None:
        """The cap on the answer; some servers read 0 or less as none."""
        asked = self.body.max_completion_tokens or self.body.max_tokens
        return min(asked, MOST_TOKENS) if asked and asked > 0 else None

    @property
    def stream(self) -> bool:
        return bool(self.body.stream)

    @property
    def wants_usage(self) -> bool:
        options = self.body.stream_options
        return bool(options and options.include_usage)


_decoder = msgspec.json.Decoder(Body)
_calls = msgspec.json.Decoder(list[ToolCall] | None)
_NOTHING: frozenset[str] = frozenset()


def parse(raw: bytes) -> Parsed:
    """The typed view of a request's body. Raises RequestError (400), naming the parameter at fault.

    >>> parsed = parse(b'{"model": "turnout/auto", "messages": [{"role": "user", "content": "hi"}], "tools": [{}]}')
    >>> parsed.text, sorted(parsed.needs)
    ('hi', ['tools'])
    >>> parse(b'{"model": "turnout/auto", "messages": []}')
    Traceback (most recent call last):
    turnout.errors.RequestError: `messages` must hold at least one message, got an empty list
    """
    try:
        body = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{UNKNOWN_JSON}: {error}") from error
    except RecursionError as error:
        raise RequestError(f"{UNKNOWN_JSON}: it is nested too deeply") from error
    if not body.messages:
        raise RequestError("`messages` must hold at least one message, got an empty list", param="messages")
    needs, size = _needs(body), len(raw)
    if "images" in needs:
        size = sum(_size(message) for message in body.messages)
    return Parsed(body, routing_text(body.messages), needs, size)


def routing_text(messages: list[Message]) -> str:
    """The last user turn's text, or the last message's where no user speaks."""
    for message in reversed(messages):
        if message.role == "user":
            return message.text()
    return messages[-1].text()


def user_turns(messages: list[Message]) -> tuple[str, ...]:
    """The text of every user turn, the oldest first."""
    return tuple(message.text() for message in messages if message.role == "user")


def tools_in_use(messages: list[Message]) -> tuple[str, ...]:
    """Names of the functions that the conversation has called, the first called first.

    >>> body = b'{"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "clock"}}]}]}'
    >>> tools_in_use(parse(body).body.messages)
    ('clock',)
    """
    names: dict[str, None] = {}
    for message in messages:
        if not bytes(message.tool_calls):
            continue
        try:
            called = _calls.decode(message.tool_calls)
        except msgspec.DecodeError:  # the expert will say what is wrong with them
            continue
        names.update((call.function.name, None) for call in called or () if call.function)
    return tuple(names)


def conversation(parsed: Parsed, turns: Sequence[str]) -> tuple[str, str | None]:
    """The text to route: what the user's turns come to, with the tools in use; and without, where there are any."""
    said, tools = conversation_text(turns or (parsed.text,)), tools_in_use(parsed.body.messages)
    return (with_tools(said, tools), said) if tools else (said, None)


def cached_bytes(messages: list[Message]) -> int:
    """How much of the prompt the expert that gave the last answer has read before: all up to that answer."""
    answered = max((n for n, message in enumerate(messages) if message.role == "assistant"), default=-1)
    return sum(_size(message) for message in messages[: answered + 1])


def tool_loop(messages: list[Message]) -> bool:
    """Whether the last message is a tool's result, which the expert that called it waits for."""
    return messages[-1].role in {"tool", "function"}


def _needs(body: Body) -> frozenset[str]:
    needs = []
    if body.tools or body.functions:
        needs.append("tools")
    if body.response_format is not None and body.response_format.type != "text":
        needs.append("response_format")
    if body.logprobs or body.top_logprobs:
        needs.append("logprobs")
    if body.messages[-1].role == "assistant":
        needs.append("prefill")
    if any(isinstance(m.content, list) and any(p.type not in TEXT_PARTS for p in m.content) for m in body.messages):
        needs.append("images")
    return frozenset(needs) if needs else _NOTHING


def _size(message: Message) -> int:
    if not isinstance(message.content, list):
        return len(message.text())
    return sum(len(part.text) if part.text else IMAGE_BYTES for part in message.content)


def invalid(error: msgspec.ValidationError) -> RequestError:
    """The RequestError for a value of the wrong type or a missing one.

    msgspec says "Expected `str`, got `int` - at `$.messages[0].role`"; OpenAI's `param` is that path.
    """
    message, _, path = str(error).partition(" - at `$")
    param = path.rstrip("`").lstrip(".") or None
    if param is None and message.startswith("Object missing required field `"):
        param = message.split("`")[1]
        return RequestError(f"`{param}` is missing", param=param, code="missing_required_parameter")
    if param and param.endswith("role"):
        message += f"; allowed: {', '.join(ROLES)}"
    subject = f"`{param}`" if param else "the body"
    return RequestError(f"{subject}: {message[:1].lower()}{message[1:]}", param=param)
