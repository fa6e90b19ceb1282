"""`turnout fit`: from a log of outcomes to a router, with its held-out figures beside the single experts'."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from turnout.estimators.base import Estimator
    from turnout.outcomes import OutcomeLog
    from turnout.policies.base import Policy
    from turnout.routers import Router
    from turnout.types import Arm


def command(
    log: Annotated[Path, typer.Argument(help="Outcome log: a folder, or a .parquet, .jsonl or .csv file.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder that the router is written to.")] = Path(
        "router"
    ),
    save: Annotated[
        float | None, typer.Option(help="Spend this many percent less than the best single expert.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Spend at most this many US dollars per 1,000 requests.")] = None,
    lam: Annotated[float | None, typer.Option(help="Maximise quality − λ·cost, λ in score per US dollar.")] = None,
    strong_share: Annotated[float | None, typer.Option(help="Share of requests for the dearest expert, 0–1.")] = None,
    floor: Annotated[float | None, typer.Option(help="The cheapest expert of at least this quality, 0–1.")] = None,
    policy: Annotated[str | None, typer.Option(help="A registered policy, with its own defaults.")] = None,
    estimator: Annotated[
        str | None,
        typer.Option(
            help="A registered estimator, or `a+b`, a mean; `a@own` reads the signal `own` too (default: stack)."
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="The default stack reads this encoder: all-minilm-l6-v2, a local model, or a file."),
    ] = None,
    novelty: Annotated[
        float | None,
        typer.Option(help="Share of the log whose form is rarest; rarer queries go to the best single expert [0.02]."),
    ] = None,
    judged: Annotated[
        float | None, typer.Option(help="Learn this part, 0–1, from the log's `judge_score` and the rest from `score`.")
    ] = None,
    arms: Annotated[
        Path | None, typer.Option("--arms", "--config", help="A turnout.toml: prices and limits of the experts.")
    ] = None,
    regions: Annotated[
        str | None, typer.Option(help="Guard each region of queries by itself: a number of clusters, or `tasks`.")
    ] = None,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Average signals over views of a text: fewer flips, more time.")
    ] = False,
    engine: Annotated[
        str, typer.Option(help="`local`; for logs too large for the memory `chunks`, or `ray` on a cluster (ridge).")
    ] = "local",
    guard: Annotated[bool, typer.Option(help="Abstain to the best single expert where no gain is shown.")] = True,
    keep_text: Annotated[bool, typer.Option(help="Keep excerpts of 500 queries for explanations.")] = True,
    seed: Annotated[int, typer.Option(help="The same log and seed make the same router.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fit a router on a log. Without a target it seeks the best quality, and of equals the cheaper.

    Every figure is for queries held out of the fit. The router routes only where its gain over always asking the best
    single expert is clear of zero; otherwise it abstains to that expert, and says so.
    """
    from turnout.cli._output import emit
    from turnout.outcomes import OutcomeLog
    from turnout.routers.fitting import named_estimator

    read = OutcomeLog.read(log)
    if judged is not None:
        read = read.blended("judge_score", judged)
    known = known_arms(arms)
    chosen = _policy(
        read, known, {"save": save, "budget": budget, "lam": lam, "strong-share": strong_share, "floor": floor}, policy
    )
    router = _fitted(
        read,
        engine,
        estimator=named_estimator(estimator) if estimator else None,
        encoder=encoder,
        regions=int(regions) if regions and regions.isdecimal() else regions,
        smooth=smooth,
        **({} if novelty is None else {"novelty": novelty}),
        arms=known,
        policy=chosen,
        guard=guard,
        seed=seed,
        keep_text=keep_text,
    )
    router.save(out)
    result = {"router": str(out), **described(router)}
    emit(result, as_json, lambda console: _show(console, result))


def described(router: Router) -> dict[str, Any]:
    """What `fit` prints: parts, guard and held-out figures."""
    return {
        "estimator": repr(router.estimator),
        "policy": repr(router.policy),
        "lambda": getattr(router.policy, "lam_", getattr(router.policy, "lam", None)),
        "verdict": router.guard.words(),
        "guard": _in_figures(router.guard.state()),
        "nominal_prices": any(arm.price.nominal for arm in router.arms),
        "unpriced": router.costs.unpriced,
        **router.summary,
    }


def _in_figures(guard: dict[str, Any]) -> dict[str, Any]:
    """A guard's state for reading: where things lie in feature space tells a reader nothing."""
    import numpy as np

    parts = {name: state for name, state in guard.items() if isinstance(state, dict)}
    return guard | {
        name: {key: value for key, value in state.items() if not isinstance(value, np.ndarray)}
        for name, state in parts.items()
    }


def _policy(log: OutcomeLog, arms: list[Arm], targets: dict[str, float | None], named: str | None) -> Policy | None:
    from turnout import registry
    from turnout.errors import ConfigError
    from turnout.routers.targets import saving

    asked = [name for name, value in targets.items() if value is not None]
    owner = {"save": "budget", "budget": "budget", "lam": "utility", "strong-share": "share", "floor": "floor"}
    if len(asked) > 1:
        raise ConfigError(f"give one target, got {', '.join('--' + name for name in asked)}")
    if not asked:
        return registry.create("policy", named) if named else None
    target, value = asked[0], targets[asked[0]]
    if named not in {None, owner[target]}:
        raise ConfigError(f"--{target} is a target of --policy {owner[target]}, got --policy {named}")
    if target == "save":
        return saving(log, value or 0.0, arms)
    parameter = {"budget": "dollars_per_1k", "lam": "lam", "strong-share": "strong_share", "floor": "quality"}[target]
    return registry.create("policy", owner[target], **{parameter: value})  # type: ignore[no-any-return]


def _fitted(
    log: OutcomeLog,
    engine: str,
    *,
    estimator: Estimator | None,
    encoder: str | None,
    regions: int | str | None,
    smooth: bool,
    **options: Any,
) -> Router:
    """The router, by the engine that was asked for."""
    from turnout.errors import ConfigError
    from turnout.routers import Router
    from turnout.routers.fitting import default_estimator, sentence_signal
    from turnout.routers.smoothing import smoothed_signals
    from turnout.routers.streaming import fit_by_chunks

    if encoder is not None and (estimator is not None or engine != "local"):
        raise ConfigError("--encoder is for the default estimator of --engine local")
    if engine == "local":
        made = estimator or default_estimator(log, sentences=encoder is not None)
        signals = None if encoder is None else sentence_signal(log, encoder)
        signals = smoothed_signals(log, made, fitted=signals) if smooth else signals
        return Router.fit(log, estimator=made, signals=signals, regions=regions, **options)
    if smooth or regions is not None:
        raise ConfigError(f"--smooth and --regions go with --engine local, got --engine {engine}")
    return fit_by_chunks(log, estimator=estimator, engine=engine, **options)


def known_arms(config: Path | None) -> list[Arm]:
    """The arms of a configuration, or none. Raises ConfigError."""
    if config is None:
        return []
    from turnout import config as configuration
    from turnout.errors import ConfigError

    try:
        from turnout.experts import pool
    except ModuleNotFoundError as error:
        raise ConfigError(f"--arms needs {error.name}: pip install 'turnout[gateway]'") from error
    return pool.arms(configuration.load(config))


def _show(console: Console, result: dict[str, Any]) -> None:
    from rich.markup import escape

    from turnout.cli._output import show, table
    from turnout.outcomes.coverage import words

    log, held_out = result["log"], result["held_out"]
    console.print(
        f"fitted on {log['queries']:,} queries ({log['groups']:,} without near-duplicates) × "
        f"{len(log['experts'])} experts, {'full' if log['full'] else 'partial'}: {log['outcomes']:,} outcomes"
    )
    if log["without_score"]:
        console.print(f"left out, having no score: {escape(', '.join(log['without_score']))}")
    console.print(f"policy {escape(result['policy'])}" + (f", λ = {result['lambda']:.6g}" if result["lambda"] else ""))
    if held_out:
        priced = "dearest" in held_out["table"]
        unit = "nominal US$ / 1,000" if result["nominal_prices"] else "US$ / 1,000"
        rows = [
            (
                name if row["expert"] is None else f"{name} ({escape(row['expert'])})",
                f"{row['quality']:.3f} [{row['low']:.3f}, {row['high']:.3f}]",
                show(1000 * row["cost"] if priced else None),
            )
            for name, row in held_out["table"].items()
            if name != "best quality" or row["expert"] != held_out["table"]["best single"]["expert"]
        ]
        made = table(["held-out queries", "quality [95 %]", unit], rows)
        if not console.is_terminal:
            console.width = max(console.width, 100)
        console.print(made)
        shares = sorted(held_out["shares"].items(), key=lambda item: -item[1])
        asked = ", ".join(f"{name} {share:.0%}" for name, share in shares if share >= 0.005)
        console.print(f"would ask {escape(asked)}")
    console.print(f"[bold]{escape(result['verdict'])}[/bold]", highlight=False)
    if result["unpriced"]:
        free = escape(", ".join(result["unpriced"]))
        console.print(f"caution: no price and no cost is known of {free}, so it counts as free", style="yellow")
    for one in log["uneven"]:
        console.print(
            f"caution: {escape(words(one))}; of what it was not asked the verdict knows estimates only", style="yellow"
        )
    console.print(f"router: {escape(result['router'])}")
