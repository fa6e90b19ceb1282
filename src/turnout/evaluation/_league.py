"""The top of a page over several tables: contents that are a league table, and sections of other measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from turnout.evaluation import _figures as figures
from turnout.evaluation._cells import bars_table, number, span_cell, track
from turnout.evaluation.results import REFERENCE, Evaluation, Sheet

if TYPE_CHECKING:
    from turnout.evaluation.benchmark import Bar

SCALE = 0.12  # of the tracks, in score


def league(evaluations: Sequence[Evaluation], sheets: Sequence[Sheet], bars: Mapping[str, Sequence[Bar]]) -> str:
    """A line per table, linked to its section: the figure, what it gains, at which cost, and bars met."""
    lines = [_line(f"e{i}", _summary(e), _cost(e), bars.get(e.title, ())) for i, e in enumerate(evaluations)]
    lines += [_line(f"s{i}", sheet, "—", bars.get(sheet.title, ())) for i, sheet in enumerate(sheets)]
    heads = ("table", "bars met", "measured", "gain", "", "of its cost")
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    caption = "Every table, with 95 % intervals; each name leads to its figures."
    return (
        f'<nav aria-label="Tables"><div class="scroll"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></nav>"
    )


def _summary(evaluation: Evaluation) -> Sheet:
    """An evaluation's headline: RouteLLM's figure between two experts, else accuracy."""
    row, pair = evaluation.rows[0], evaluation.pair
    value, gain, metric, against = row.accuracy, row.gain, "accuracy", REFERENCE
    if pair is not None and len(row.share) == 2:
        value, gain, metric, against = pair.rows[0].apgr, pair.rows[0].gain, "APGR", "prompt length"
    return Sheet(evaluation.title, row.name, metric, value, gain, against, evaluation.protocol, ())


def _cost(evaluation: Evaluation) -> str:
    row = evaluation.rows[0]
    single = next((one for one in evaluation.rows if one.name == REFERENCE), None)
    if len(row.share) == 2 or row.cost is None or single is None or single.cost is None or not single.cost.mean:
        return "—"
    return f"{row.cost.mean / single.cost.mean:.0%}"


def _line(anchor: str, sheet: Sheet, cost: str, bars: Sequence[Bar]) -> str:
    met = f"{sum(bar.passed for bar in bars)} of {len(bars)}" if bars else "—"
    value = f"{span_cell(sheet.value)}<small>{escape(sheet.metric)}</small>"
    gain = span_cell(sheet.gain, signed=True) + (f"<small>over {escape(sheet.against)}</small>" if sheet.gain else "")
    name = f'<th scope="row"><a href="#{anchor}">{escape(sheet.title)}</a></th>'
    texts = "".join(f'<td class="claim">{cell}</td>' for cell in (value, gain))
    return f"<tr>{name}<td>{met}</td>{texts}<td>{track(sheet.gain, SCALE)}</td><td>{cost}</td></tr>"


def sheet_section(sheet: Sheet, place: int, bars: Sequence[Bar]) -> str:
    """Headline, plot, bars and rows of a measurement with columns of its own."""
    gain = ""
    if sheet.gain is not None:
        low, high = sheet.gain.low, sheet.gain.high
        gain = f", {sheet.gain.mean:+.3f} ({low:+.3f} to {high:+.3f}) over {escape(sheet.against)}"
    headline = f"<b>{escape(sheet.subject)}</b>: {escape(sheet.metric)} {sheet.value.mean:.3f}{gain}."
    column = _drawn(sheet)
    values = [(str(row["name"]), float(row[column])) for row in sheet.rows if isinstance(row.get(column), (int, float))]  # type: ignore[arg-type]
    drawn = figures.dots(values, column, sheet.subject, f"sheet {place}")
    plot = f'<figure class="wide">{drawn}</figure>' if drawn else ""
    parts = [
        f"<h1>{escape(sheet.title)}</h1>",
        f'<p class="verdict">{headline}</p>',
        f"<h2>{escape(column)}</h2>{plot}" if plot else "",
        bars_table(bars),
        _rows(sheet),
        f'<p class="muted">{escape(sheet.protocol)}.</p>',
    ]
    return f'<section id="s{place}" class="follow">{"".join(parts)}</section>'


def _drawn(sheet: Sheet) -> str:
    """The column that the plot shows: the metric where rows have it, else their first figure."""
    columns = list(sheet.rows[0]) if sheet.rows else []
    return sheet.metric if sheet.metric in columns else next((c for c in columns if c != "name"), "")


def _rows(sheet: Sheet) -> str:
    if not sheet.rows:
        return ""
    columns = [column for column in sheet.rows[0] if column != "name"]
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in ("rule", *columns))
    body = "".join(
        f'<tr><th scope="row">{escape(str(row["name"]))}</th>'
        + "".join(f"<td>{_cell(row.get(column))}</td>" for column in columns)
        + "</tr>"
        for row in sheet.rows
    )
    return (
        f'<h2>All rows</h2><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(value: str | float | None) -> str:
    return escape(value) if isinstance(value, str) else number(value)
