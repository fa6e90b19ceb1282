"""Cells that the tables of a report share."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from turnout.evaluation.benchmark import Bar
    from turnout.stats import Interval


def span_text(interval: Interval, signed: bool = False) -> str:
    """`low to high`."""
    form = "+.3f" if signed else ".3f"
    return f"{_minus(interval.low, form)} to {_minus(interval.high, form)}"


def number(value: float | None) -> str:
    """Three digits, or a dash."""
    return "—" if value is None else f"{value:.3f}"


def span_cell(interval: Interval | None, signed: bool = False) -> str:
    """The mean above its interval, or a dash."""
    if interval is None:
        return "—"
    form = "+.3f" if signed else ".3f"
    return f"{_minus(interval.mean, form)}<small>{span_text(interval, signed)}</small>"


def _minus(value: float, form: str) -> str:
    return f"{value:{form}}".replace("-", "−")


def track(interval: Interval | None, scale: float) -> str:
    """The interval as a dot and a line about zero; what lies beyond the scale is cut at the edge."""
    if interval is None:
        return ""
    low, mean, high = (50 + 48 * max(-1.0, min(1.0, x / scale)) for x in (interval.low, interval.mean, interval.high))
    kind = "up" if interval.low > 0 else "down" if interval.high < 0 else "flat"
    return (
        f'<span class="track {kind}" aria-hidden="true"><i class="zero" style="left:50%"></i>'
        f'<i class="span" style="left:{low:.1f}%;width:{max(high - low, 1):.1f}%"></i>'
        f'<i class="dot" style="left:{mean:.1f}%"></i></span>'
    )


def bars_table(bars: Sequence[Bar]) -> str:
    """Pass or miss, a line each; nothing where there are no bars."""
    if not bars:
        return ""
    rows = "".join(
        f'<tr><td class="claim">{escape(bar.claim)}</td><td class="{"pass" if bar.passed else "miss"}">'
        f"{'pass' if bar.passed else 'miss'}</td><td>{escape(bar.wanted)}</td><td>{span_cell(bar.measured)}</td>"
        f'<td>{_minus(bar.gap, "+.4f")}</td><td class="claim">{escape(bar.note)}</td></tr>'
        for bar in bars
    )
    heads = "".join(f'<th scope="col">{text}</th>' for text in ("bar", "", "wanted", "measured", "gap", ""))
    return f'<h2>Bars</h2><div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
