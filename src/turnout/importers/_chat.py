"""Chat requests and responses in OpenAI's shapes, and Anthropic's messages: asked, answered, what it took."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from turnout.importers._reading import Record

_BEFORE = ("instructions", "previous_response_id", "conversation")  # of a response, beside its input


def text_of(content: Any) -> str:
    """The text of a message's content: a text, or a list of parts.

    >>> text_of([{"type": "text", "text": "What is"}, {"type": "image_url"}, {"type": "input_text", "text": "this?"}])
    'What is\\nthis?'
    """
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str))


def asked(request: Any) -> str | None:
    """What a router would read: the last user turn, or the last message where no user speaks; None without text.

    `request` is a list of messages, a text, or a list of texts (a completion's `prompt`, a response's `input`).
    """
    if isinstance(request, str):
        return request or None
    messages = request if isinstance(request, list) else []
    users = [m for m in messages if isinstance(m, dict) and m.get("role") == "user"]
    if users or messages:
        last = (users or messages)[-1]
        return text_of(last.get("content") if isinstance(last, dict) else last) or None
    return None


def identity(request: Any) -> str:
    """A name for a whole conversation, the same for every expert that was asked it.

    >>> identity("hi") == identity([{"role": "user", "content": "hi"}]) == identity(["hi"])
    True
    """
    messages = [request] if isinstance(request, str) else request if isinstance(request, list) else [request]
    turns = [
        [m.get("role", "user"), m.get("content", m), m.get("tool_calls")] if isinstance(m, dict) else ["user", m, None]
        for m in messages
    ]
    document = json.dumps(turns, sort_keys=True, default=str)
    return hashlib.sha256(document.encode()).hexdigest()[:16]


def identity_of(body: Record) -> str:
    """The same for a request's body: with the instructions, and the conversation that it goes on with."""
    request = request_of(body)
    before = [{name: body[name]} for name in _BEFORE if body.get(name)]
    return identity([*before, *(request if isinstance(request, list) else [request])])


def answer(response: Any) -> str | None:
    """The text of a completion's first choice, a response object or an Anthropic message; None where it has none."""
    if isinstance(response, str):
        return response
    if not isinstance(response, dict):
        return None
    for choice in _list(response, "choices")[:1]:
        message = choice.get("message") if isinstance(choice, dict) else None
        if isinstance(message, dict):
            return text_of(message.get("content")) or None
        return choice.get("text") if isinstance(choice, dict) and isinstance(choice.get("text"), str) else None
    parts = [text_of(item.get("content")) for item in _list(response, "output") if isinstance(item, dict)]
    return "\n".join(part for part in (*parts, text_of(response.get("content"))) if part) or None


def usage(response: Any) -> dict[str, Any]:
    """Prompt and completion tokens, as `Rows.add` takes them."""
    counts = response.get("usage") if isinstance(response, dict) else None
    counts = counts if isinstance(counts, dict) else {}
    return {
        "prompt_tokens": counts.get("prompt_tokens", counts.get("input_tokens")),
        "completion_tokens": counts.get("completion_tokens", counts.get("output_tokens")),
    }


def request_of(body: Record) -> Any:
    """What a request's body asks: its messages, its prompt or its input."""
    return next((body[name] for name in ("messages", "input", "prompt") if body.get(name)), None)


def _list(record: Record, name: str) -> list[Any]:
    value = record.get(name)
    return value if isinstance(value, list) else []
