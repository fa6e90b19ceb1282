"""`turnout route`: a stream of prompts to a stream of decisions, one JSON object per line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from turnout.routers import Bound
    from turnout.routers.rules import Ruled
    from turnout.types import Decision, Request

BATCH = 256  # lines decided at once: enough to amortise, little enough that a slow writer sees output


def command(
    router: Annotated[Path, typer.Argument(help="Folder of a fitted router, or `shipped`.")],
    prompts: Annotated[
        Path | None, typer.Argument(help="JSONL file, each line with `prompt` or `messages`; default: standard input.")
    ] = None,
    *,
    seed: Annotated[int, typer.Option(help="Line n is decided with seed + n.")] = 0,
    explore: Annotated[float, typer.Option(min=0.0, max=1.0, help="Chance of a uniform choice.")] = 0.0,
    full: Annotated[bool, typer.Option(help="Also print every expert's estimates.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Apply the rules of this configuration.")
    ] = None,
    _: Annotated[bool, typer.Option("--json", help="Output is JSON lines in any case.")] = False,
) -> None:
    """Decide for each line `{"prompt": …}` or `{"messages": […]}`; `id`, `max_tokens`, `allow`, `deny` and
    `tenant` are read too.

    A line that cannot be routed gives `{"line": n, "error": …}` in its place, is named on stderr, and makes the exit
    status 1.
    """
    import sys

    from turnout.config import RouterConfig, load
    from turnout.errors import ConfigError
    from turnout.routers import Router, shipped_path
    from turnout.routers.rules import bind

    loaded = Router.load(shipped_path() if str(router) == "shipped" else router)
    settings = load(config).router if config is not None else RouterConfig()
    bound = bind(loaded, loaded.arms, signals=settings.signals, rules=settings.rules)
    if prompts is not None and not prompts.is_file():
        raise ConfigError(f"no such file: {prompts}")
    stream = sys.stdin.buffer if prompts is None else prompts.open("rb")
    bad = 0
    with stream:
        for lines in _batches(enumerate(stream, start=1)):
            shown, failed = _decide(bound, lines, seed, explore, full)
            sys.stdout.write("".join(shown))
            sys.stdout.flush()
            sys.stderr.write("".join(f"line {number}: {error}\n" for number, error in failed))
            bad += len(failed)
    if bad:
        raise typer.Exit(1)


def _batches(lines: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    source = ((number, line) for number, line in lines if line.strip())
    while batch := list(islice(source, BATCH)):
        yield batch


def _decide(
    bound: Bound | Ruled, lines: list[tuple[int, bytes]], seed: int, explore: float, full: bool
) -> tuple[list[str], list[tuple[int, str]]]:
    """Output lines in input order, and what went wrong by line number."""
    import json

    from turnout.errors import RequestError

    wanted: list[tuple[int, Any, Request | None, str]] = []
    for number, line in lines:
        try:
            key, request = _request(line)
            wanted.append((number, key, request, ""))
        except RequestError as error:
            wanted.append((number, None, None, str(error)))
    good = [(number, request) for number, _, request, _ in wanted if request is not None]
    decisions: dict[int, Decision | str] = {}
    try:
        found = bound.decide_many([request for _, request in good], seeds=[seed + n for n, _ in good], explore=explore)
        decisions.update({number: decision for (number, _), decision in zip(good, found, strict=True)})
    except RequestError:  # some line has no eligible expert: find out which
        for number, request in good:
            try:
                decisions[number] = bound.decide(request, seed=seed + number, explore=explore)
            except RequestError as error:
                decisions[number] = str(error)
    shown: list[str] = []
    failed: list[tuple[int, str]] = []
    for number, key, _, problem in wanted:
        decision = decisions.get(number, problem)
        head = {"line": number} if key is None else {"id": key}
        if isinstance(decision, str):
            failed.append((number, decision))
            shown.append(json.dumps({**head, "line": number, "error": decision}, ensure_ascii=False) + "\n")
        else:
            shown.append(json.dumps({**head, **_result(decision, full)}, ensure_ascii=False) + "\n")
    return shown, failed


def _request(line: bytes) -> tuple[Any, Request]:
    """The line's id and request; `messages` are read as the gateway reads them. Raises RequestError."""
    from dataclasses import replace

    from turnout.errors import RequestError
    from turnout.types import Request

    row = _object(line)
    allow, deny = row.get("allow"), row.get("deny", [])
    for name, value in (("allow", [] if allow is None else allow), ("deny", deny)):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise RequestError(f"`{name}` must be a list of expert ids, got {value!r}")
    if isinstance(row.get("prompt"), str):
        text, most = row["prompt"], row.get("max_tokens")
        if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
            raise RequestError(f"`max_tokens` must be a positive integer, got {most!r}")
        request = Request(text, bytes=len(text.encode("utf-8", "replace")), max_tokens=most)
    elif "messages" in row:
        request = _conversation(row)
    else:
        raise RequestError("needs `prompt` (a string) or `messages` (a list); got " + (", ".join(row) or "neither"))
    tenant = row.get("tenant")
    if tenant is not None and not isinstance(tenant, str):
        raise RequestError(f"`tenant` must be a string, got {tenant!r}")
    allowed = None if allow is None else frozenset(allow)
    return row.get("id"), replace(request, allow=allowed, deny=frozenset(deny), tenant=tenant)


def _object(line: bytes) -> dict[str, Any]:
    import json

    from turnout.errors import RequestError

    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise RequestError(f"must be an object with `prompt` or `messages`, got {type(row).__name__}")
    return row


def _conversation(row: dict[str, Any]) -> Request:
    import msgspec

    from turnout.gateway.body import conversation, parse, user_turns
    from turnout.types import Request

    parsed = parse(msgspec.json.encode({"model": "turnout/auto", **row}))
    turns = user_turns(parsed.body.messages)
    text, said = conversation(parsed, turns)
    return Request(
        text,
        bytes=parsed.size,
        needs=parsed.needs,
        max_tokens=parsed.max_tokens,
        turns=turns,
        said=said,
    )


def _result(decision: Decision, full: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "expert": decision.expert,
        "fallbacks": list(decision.plan.fallbacks),
        "reason": decision.reason,
        "quality": decision.estimate("quality"),
        "cost": decision.estimate("cost"),
        "propensity": decision.propensity,
    }
    if decision.rule is not None:
        result["rule"] = decision.rule
    if decision.conditions:
        result["conditions"] = {name: dict(reading) for name, reading in decision.conditions.items()}
    if decision.refusals:
        result["refusals"] = dict(decision.refusals)
    if full:
        columns = zip(decision.experts, decision.quality, decision.se, decision.cost, decision.objective, strict=True)
        result["experts"] = {
            expert: {"quality": quality, "se": se, "cost": cost, "objective": objective}
            for expert, quality, se, cost, objective in columns
        }
    return result
