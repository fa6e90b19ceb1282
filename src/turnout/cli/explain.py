"""`turnout explain`: why a text goes where it goes, and what would flip it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from turnout.routers import Router


def command(
    router: Annotated[Path, typer.Argument(help="Folder of a fitted router, or `shipped`.")],
    text: Annotated[str, typer.Argument(help="The request's text; `-` reads it from standard input.")],
    *,
    neighbours: Annotated[int, typer.Option(min=0, help="How many of the nearest logged queries to show.")] = 5,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Apply the rules of this configuration.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Predicted quality and cost per expert, the objective's arithmetic, the nearest logged queries, and the flips."""
    import sys

    from turnout.cli._output import emit
    from turnout.routers import Router, shipped_path

    loaded = Router.load(shipped_path() if str(router) == "shipped" else router)
    asked = sys.stdin.read() if text == "-" else text
    if config is None:
        result = loaded.explain(asked, neighbours=neighbours)
    else:
        result = _ruled(loaded, asked, neighbours, config)
    result["nominal_prices"] = any(arm.price.nominal for arm in loaded.arms)
    emit(result, as_json, lambda console: _show(console, result))


def _ruled(router: Router, text: str, neighbours: int, config: Path) -> dict[str, Any]:
    """What the configuration's rules make of the text, who serves it then, and the estimates under the rule's trade."""
    from turnout.config import load
    from turnout.errors import RequestError
    from turnout.routers.rules import Ruled
    from turnout.types import Request

    settings = load(config).router
    ruled = Ruled(router, router.arms, signals=settings.signals, rules=settings.rules)
    request = Request(text, bytes=len(text.encode("utf-8", "replace")))
    served: dict[str, Any] = {"expert": None, "reason": "refused"}
    among = None
    try:
        decision = ruled.decide(request, seed=0)
    except RequestError as error:
        served["refusal"] = str(error)
    else:
        served = {"expert": decision.expert, "reason": decision.reason}
        among = [name for name, may in zip(decision.experts, decision.eligible, strict=True) if may]
    found = ruled.router(request).explain(text, neighbours=neighbours, among=among)
    return found | {"rules": ruled.explain(request)} | served


def _show(console: Console, result: dict[str, Any]) -> None:
    from rich.markup import escape

    from turnout.cli._output import show, table

    if not console.is_terminal:
        console.width = max(console.width, 120)
    who = escape(result["expert"] or result["refusal"])
    console.print(f"[bold]{who}[/bold] ({result['reason']}) · policy {escape(result['policy'])}")
    if "rules" in result:
        _show_rules(console, result["rules"])
    console.print(f"[dim]guard: {escape(result['guard'])}[/dim]")
    if result["reason"] == "abstained":
        if result["novel"]:
            console.print("the form of this text is unlike the logged queries'")
        console.print(f"without the guard: {escape(result['policy_choice'])}")
    unit = "nominal US$ / 1,000" if result["nominal_prices"] else "US$ / 1,000"
    ordered = sorted(result["experts"], key=lambda row: -row["objective"])
    rows = [
        (
            escape(row["expert"]),
            f"{row['quality']:.3f} [{row['low']:.3f}, {row['high']:.3f}]",
            show(1000 * row["cost"]),
            row["arithmetic"],
        )
        for row in ordered
    ]
    console.print(table(["expert", "expected quality [95 %]", unit, "objective"], rows))
    whose = "the policy's choice, which the guard does not follow" if result["reason"] == "abstained" else "the choice"
    console.print(f"[bold]what would flip {whose}[/bold]")
    for flip in result["flips"][:4]:
        console.print(f"  {escape(flip['words'])}")
    if not result["flips"]:
        console.print("  no price and no λ")
    if result["neighbours"]:
        console.print(table(["nearest logged queries", "similarity", "scores"], map(_neighbour, result["neighbours"])))


def _show_rules(console: Console, rules: dict[str, Any]) -> None:
    from rich.markup import escape

    from turnout.cli._output import table
    from turnout.cli._traces import rules as readings

    rows = [(escape(r["rule"]), str(r["priority"]), escape(r["when"]), "yes" if r["holds"] else "no", escape(r["then"]))
            for r in rules["tried"]]  # fmt: skip
    console.print(table(["rule", "priority", "when", "holds", "then"], rows, words=("when", "then")))
    if rules["not_tried"]:
        console.print(f"[dim]not tried: {escape(', '.join(rules['not_tried']))}[/dim]")
    readings(console, None, rules["signals"])


def _neighbour(row: dict[str, Any]) -> tuple[str, str, str]:
    from rich.markup import escape

    excerpt = " ".join(row["text"].split())[:70] or row["query_id"]
    best = sorted(row["scores"].items(), key=lambda item: -item[1])[:4]
    return escape(excerpt), f"{row['similarity']:.2f}", escape(", ".join(f"{name} {score:.2g}" for name, score in best))
