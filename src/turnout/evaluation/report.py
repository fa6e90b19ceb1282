"""One self-contained HTML page: verdict, cost–quality plot, table with intervals, calibration, shares, how to read it.

No script, no external resource; light and dark by the reader's preference. matplotlib draws the plots as inline SVG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from turnout.evaluation import _figures as figures
from turnout.evaluation._cells import bars_table, number, span_cell, span_text, track
from turnout.evaluation._league import league, sheet_section
from turnout.evaluation.results import CEILING, REFERENCE, Evaluation, Pair, Row, Sheet

if TYPE_CHECKING:
    from turnout.evaluation.benchmark import Bar

TERMS = {
    "accuracy": "Mean score over all queries, each in [0, 1].",
    "gain": "Difference to the best single expert on the same queries. If its interval lies right of zero, the router "
    "is better than asking that one model for everything, beyond chance.",
    "gap to oracle": "What would still be had by always knowing the best expert. Part of it is luck that no router can "
    "know in advance.",
    "brackets": "95 % intervals from a paired bootstrap that draws whole groups of near-duplicate queries.",
    "the curve": "The router as its price of cost λ rises, from quality at any cost to cheapest. The dashed line joins "
    "single experts: tossing a coin between two of them reaches every point on it, so only what lies above is gained.",
    "AIQ": "Mean height of the router's curve over the range of costs (RouterBench). λ and the points used are fixed "
    "on the training side, so the figure is not flattered by the test queries.",
    "ECE": "Expected calibration error: how far predicted quality is from what was observed, on average.",
    "APGR, CPT": "RouteLLM's figures between a weak and a strong expert. APGR: the part of their quality gap that is "
    "recovered, averaged over all shares of strong calls (0.5 is chance). CPT50, CPT80: the share of strong calls that "
    "recovers 50 % or 80 % of the gap.",
    "task table": "Knows each query's true task name, which live traffic does not carry: a fair mark to aim at.",
    "oracle": "Looks at the answers' scores; not attainable.",
}


def page(
    evaluations: Sequence[Evaluation],
    title: str,
    bars: Mapping[str, Sequence[Bar]] | None = None,
    note: str = "",
    sheets: Sequence[Sheet] = (),
) -> str:
    """The whole document, with a league table on top where there is more than one; `bars` are pass-or-miss lines by
    the title of an evaluation or sheet.

    Raises ConfigError where matplotlib is not installed.
    """
    css = (files("turnout.evaluation") / "report.css").read_text(encoding="utf-8")
    bars = bars or {}
    sections = "".join(_section(e, i, bars.get(e.title, ())) for i, e in enumerate(evaluations))
    sections += "".join(sheet_section(s, i, bars.get(s.title, ())) for i, s in enumerate(sheets))
    many = len(evaluations) + len(sheets) > 1
    head = f"<h1>{escape(title)}</h1>{league(evaluations, sheets, bars)}" if many else ""
    terms = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in TERMS.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{css}</style></head><body><main>"
        f"{head}{sections}"
        f'<details open><summary>How to read this page</summary><dl class="terms">{terms}</dl></details>'
        f"<footer>{escape(note)}</footer></main></body></html>\n"
    )


def require() -> None:
    """Raise ConfigError where matplotlib is not installed: better before a long evaluation than after it."""
    figures.require()


def _section(evaluation: Evaluation, number: int, bars: Sequence[Bar]) -> str:
    warnings = "".join(f'<p class="warning" role="alert"><b>Warning.</b> {escape(w)}</p>' for w in evaluation.warnings)
    remarks = "".join(f'<p class="muted">{escape(remark)}</p>' for remark in evaluation.remarks)
    parts = [
        f"<h1>{escape(evaluation.title)}</h1>",
        warnings,
        f'<p class="verdict">{_verdict(evaluation)}</p>',
        _cards(evaluation),
        _plot(evaluation, number),
        bars_table(bars),
        _table(evaluation),
        remarks,
        _pair(evaluation.pair) if evaluation.pair else "",
        _details(evaluation, number),
        f'<p class="muted">{escape(evaluation.protocol)}. {_facts(evaluation.facts)}</p>',
    ]
    return f'<section id="e{number}"{" class=follow" if number else ""}>{"".join(parts)}</section>'


def _verdict(evaluation: Evaluation) -> str:
    row = evaluation.rows[0]
    name = f"<b>{escape(row.name)}</b>"
    if row.gain is None:
        return f"{name} scores {row.accuracy.mean:.3f}."
    amount = f"{row.gain.mean:+.3f} ({row.gain.low:+.3f} to {row.gain.high:+.3f})"
    single = _served(evaluation, REFERENCE)
    rival = f"always asking the best single expert{f', {escape(single)}' if single else ''}"
    saving = _saving(evaluation)
    if row.gain.low == row.gain.high == 0:
        return f"{name} does the same as {rival}."
    if row.gain.low > 0:
        return f"{name} beats {rival}, by {amount}{saving}."
    if row.gain.high < 0:
        return f"{name} does worse than {rival}, by {amount}{saving}."
    return f"{name} is not shown to beat {rival}: {amount}, an interval that holds zero{saving}."


def _saving(evaluation: Evaluation) -> str:
    row, single = evaluation.rows[0], _find(evaluation, REFERENCE)
    if row.cost is None or single is None or single.cost is None or not single.cost.mean:
        return ""
    return f", at {row.cost.mean / single.cost.mean:.0%} of its cost"


def _served(evaluation: Evaluation, name: str) -> str | None:
    """The expert that serves at least nine of ten queries under a rule, if there is one."""
    row = _find(evaluation, name)
    leader = max(row.share.items(), key=lambda item: item[1]) if row else ("", 0.0)
    return leader[0] if leader[1] >= 0.9 else None


def _find(evaluation: Evaluation, name: str) -> Row | None:
    return next((row for row in evaluation.rows if row.name == name), None)


def _cards(evaluation: Evaluation) -> str:
    row, single, oracle = evaluation.rows[0], _find(evaluation, REFERENCE), _find(evaluation, CEILING)
    cards = [_card("accuracy", f"{row.accuracy.mean:.3f}", span_text(row.accuracy), lead=True)]
    if row.gain is not None:
        cards.append(_card("gain over best single", f"{row.gain.mean:+.3f}", span_text(row.gain, signed=True)))
    if row.cost is not None and single is not None and single.cost is not None and single.cost.mean:
        note = f"${row.cost.mean:.3g} against ${single.cost.mean:.3g} per 1,000"
        cards.append(_card("of the best single’s cost", f"{row.cost.mean / single.cost.mean:.0%}", note))
    if row.gain is not None and single is not None and oracle is not None and single.gap and single.gap.mean > 0:
        cards.append(
            _card(
                "of the oracle’s headroom",
                f"{row.gain.mean / single.gap.mean:.0%}",
                f"oracle {oracle.accuracy.mean:.3f}",
            )
        )
    return f'<dl class="cards">{"".join(cards)}</dl>'


def _card(label: str, value: str, note: str, lead: bool = False) -> str:
    kind = "card lead" if lead else "card"
    return f'<div class="{kind}"><dt>{escape(label)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>'


def _plot(evaluation: Evaluation, number: int) -> str:
    drawn = figures.cost_quality(evaluation, f"cost {number}")
    if drawn is None:
        return ""
    caption = (
        f"Up and to the left is better. The solid line shows {escape(evaluation.subject)} as its price of cost varies; "
        "the dashed line is what a coin between single experts reaches. The filled dot is the best single expert."
    )
    return f'<h2>Cost and quality</h2><figure class="wide">{drawn}<figcaption>{caption}</figcaption></figure>'


def _table(evaluation: Evaluation) -> str:
    priced = any(row.cost is not None for row in evaluation.rows)
    heads = ["accuracy", "gain over best single", "", "gap to oracle"]
    heads += ["nominal US$ per 1,000" if evaluation.nominal else "US$ per 1,000", "AIQ"] if priced else []
    heads += ["ECE"]
    scale = max(
        [max(abs(r.gain.low), abs(r.gain.high)) for r in evaluation.rows if r.gain and r.name != CEILING] or [1.0]
    )
    body = "".join(_line(row, i == 0, min(scale, 0.12) or 1.0, priced) for i, row in enumerate(evaluation.rows))
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in ("rule", *heads))
    singles = (
        f" A coin between single experts reaches AIQ {evaluation.aiq_singles:.3f}."
        if evaluation.aiq_singles is not None
        else ""
    )
    caption = f"Every rule on the same queries, with 95 % intervals.{singles}"
    notes = "".join(f"<dt>{escape(row.name)}</dt><dd>{escape(row.note)}</dd>" for row in evaluation.rows if row.note)
    return (
        f'<h2>Beside the baselines</h2><div class="scroll"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<details><summary>What the rules are</summary><dl class="terms">{notes}</dl></details>'
    )


def _line(row: Row, subject: bool, scale: float, priced: bool) -> str:
    cells = [span_cell(row.accuracy), span_cell(row.gain, signed=True), track(row.gain, scale), span_cell(row.gap)]
    if priced:
        cells += ["—" if row.cost is None else f"{row.cost.mean:.3g}", number(row.aiq)]
    cells.append(number(row.ece))
    data = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr{" class=subject" if subject else ""}><th scope="row">{escape(row.name)}</th>{data}</tr>'


def _pair(pair: Pair) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(row.name)}</th><td>{span_cell(row.apgr)}</td><td>{row.cpt50:.1%}</td>'
        f"<td>{row.cpt80:.1%}</td><td>{span_cell(row.gain, signed=True)}</td></tr>"
        for row in pair.rows
    )
    heads = "".join(
        f'<th scope="col">{text}</th>' for text in ("rule", "APGR", "CPT50", "CPT80", "APGR over prompt length")
    )
    caption = (
        f"How well rules rank queries between {escape(pair.weak)} and {escape(pair.strong)}; chance is 0.5, 50 %, 80 %."
    )
    return (
        f'<h2>As a two-model router</h2><div class="scroll"><table><caption>{caption}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _details(evaluation: Evaluation, number: int) -> str:
    drawn = figures.calibration(evaluation.calibration, f"calibration {number}")
    left = (
        f'<div><h2>Calibration</h2><figure class="small">{drawn}<figcaption>On the dashed line a prediction means what '
        "it says. Larger dots hold more queries.</figcaption></figure></div>"
        if drawn
        else ""
    )
    return f'<div class="two">{left}<div><h2>Who serves</h2>{_shares(evaluation)}</div></div>'


def _shares(evaluation: Evaluation) -> str:
    row, oracle = evaluation.rows[0], _find(evaluation, CEILING)
    order = sorted(row.share, key=lambda name: -row.share[name])
    most = max([*row.share.values(), *(oracle.share.values() if oracle else ())]) or 1.0
    shown = [name for name in order if row.share[name] > 0 or (oracle and oracle.share[name] >= 0.02)][:16]
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{row.share[name]:.0%}</td><td class="bars" aria-hidden="true">'
        f'<span class="bar" style="width:{100 * row.share[name] / most:.1f}%"></span>'
        + (f'<span class="bar oracle" style="width:{100 * oracle.share[name] / most:.1f}%"></span>' if oracle else "")
        + "</td></tr>"
        for name in shown
    )
    key = '<span class="key"></span>' + escape(row.name) + ('<span class="key oracle"></span>oracle' if oracle else "")
    return f"<table><caption>{key}</caption><tbody>{rows}</tbody></table>"


def _facts(facts: Mapping[str, object]) -> str:
    words = []
    for key, value in facts.items():
        if value is None:
            continue
        shown = (
            f"{value:.0%}"
            if key == "observed" and isinstance(value, float)
            else f"{value:,}"
            if isinstance(value, int)
            else str(value)
        )
        words.append(f"{key.replace('_', ' ')}: {escape(shown)}")
    return "; ".join(words) + "."
