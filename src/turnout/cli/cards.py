"""`turnout cards`: experts found by their text, or the request refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from turnout.cards import CardRouter, Choice

app = typer.Typer(help="Experts by their cards: search, fit, eval, add, remove.", no_args_is_help=True)
Where = Annotated[
    Path, typer.Argument(help="Cards (.jsonl, .json, .xml) or the folder of a fitted card router.", metavar="CARDS")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Encoder = Annotated[
    str | None,
    typer.Option(help="A sentence encoder that reads cards and texts: all-minilm-l6-v2 (`turnout models pull`)."),
]


@app.command()
def search(
    cards: Where,
    queries: Annotated[list[str], typer.Argument(help="What to route; `-` reads a query per line from stdin.")],
    *,
    most: Annotated[int | None, typer.Option("--most", "-k", min=1, help="At most so many experts a query.")] = None,
    encoder: Encoder = None,
    as_json: Json = False,
) -> None:
    """The experts for each query with scores and the reason, or a refusal."""
    import sys

    from turnout.cli._output import emit

    router = _open(cards, encoder)
    texts = [line.rstrip("\n") for line in sys.stdin if line.strip()] if queries == ["-"] else queries
    choices = router.select_many(texts, most=most)
    found = [{"query": text, **choice.to_dict()} for text, choice in zip(texts, choices, strict=True)]
    emit({"results": found}, as_json, lambda console: _show(console, texts, choices))


@app.command()
def fit(
    cards: Where,
    utterances: Annotated[Path, typer.Argument(help='JSON lines of {"text": …, "expert": card id}.')],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the fitted router.")],
    coverage: Annotated[float, typer.Option(help="Probability that a set holds the right expert.")] = 0.95,
    cede: Annotated[float, typer.Option(help="Share of known experts' texts that newcomers may take.")] = 0.03,
    encoder: Encoder = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split and the rehearsal.")] = 0,
    as_json: Json = False,
) -> None:
    """Learn from labelled utterances: matchers, sets with stated coverage, and the floor of what is in scope."""
    from turnout.cards.labels import read_utterances
    from turnout.cli._output import emit

    router = _open(cards, encoder)
    texts, experts = read_utterances(utterances)
    labelled = [(text, expert) for text, expert in zip(texts, experts, strict=True) if expert is not None]
    router.fit([t for t, _ in labelled], [e for _, e in labelled], coverage=coverage, cede=cede, seed=seed)
    router.save(output)
    evidence = router.learned.evidence if router.learned else {}
    result: dict[str, Any] = {"router": str(output), "cards": len(router.cards), "coverage": coverage, **evidence}
    emit(result, as_json, lambda console: _pairs(console, result))


@app.command("eval")
def evaluate(
    cards: Where,
    utterances: Annotated[Path, typer.Argument(help='JSON lines of {"text": …, "expert": card id or null}.')],
    *,
    as_json: Json = False,
) -> None:
    """Accuracy, coverage, set size and refusals on labelled utterances; a null expert is out of scope."""
    from turnout.cards.labels import read_utterances
    from turnout.cards.reports import report
    from turnout.cli._output import emit

    result = report(_open(cards), *read_utterances(utterances))
    emit(result, as_json, lambda console: _pairs(console, result))


@app.command()
def add(
    cards: Where,
    new: Annotated[Path, typer.Argument(help="Cards to add (.jsonl, .json, .xml).")],
    as_json: Json = False,
) -> None:
    """Add experts by their cards, in place; a fitted router takes them without a refit."""
    from turnout.cards import read_cards
    from turnout.cli._output import emit

    router, added = _open(cards), read_cards(new)
    router.add(added)
    _write(cards, router)
    result = {"added": [card.id for card in added], "cards": len(router.cards)}
    emit(result, as_json, lambda console: _pairs(console, result))


@app.command()
def remove(
    cards: Where, ids: Annotated[list[str], typer.Argument(help="Ids of cards.")], as_json: Json = False
) -> None:
    """Remove experts, in place."""
    from turnout.cli._output import emit

    router = _open(cards)
    router.remove(ids)
    _write(cards, router)
    result = {"removed": ids, "cards": len(router.cards)}
    emit(result, as_json, lambda console: _pairs(console, result))


def _open(where: Path, encoder: str | None = None) -> CardRouter:
    from turnout import registry
    from turnout.cards import CardRouter, read_cards
    from turnout.errors import ConfigError

    if where.is_dir():
        if encoder is not None:
            raise ConfigError(f"--encoder goes with a file of cards; {where} is a router, which keeps its own")
        return CardRouter.load(where)
    reads = None if encoder is None else registry.create("signal", "sentence", encoder=encoder)
    return CardRouter(read_cards(where), encoder=reads)


def _write(where: Path, router: CardRouter) -> None:
    from turnout.cards import write_cards
    from turnout.errors import ConfigError

    if where.is_dir():
        router.save(where)
    elif where.suffix == ".jsonl":
        write_cards(where, router.cards)
    else:
        raise ConfigError(f"only .jsonl files and fitted routers are changed in place, got {where}")


def _show(console: Console, texts: list[str], choices: list[Choice]) -> None:
    from turnout.cli._output import show

    for text, choice in zip(texts, choices, strict=True):
        scores = zip(choice.experts, choice.scores, strict=True)
        listed = ", ".join(f"{id} ({show(score)})" for id, score in scores)
        console.print(f"{text!r}: ", end="", markup=False)
        console.print(listed or "refused", style="bold" if listed else "yellow", end="", markup=False)
        console.print(f" · {choice.reason}", markup=False)


def _pairs(console: Console, result: dict[str, Any]) -> None:
    from turnout.cli._output import show

    for key, value in result.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else show(value)
        console.print(f"{key.replace('_', ' '):24s} {shown}", markup=False)
