"""Statistics as a printed table and as plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from turnout.errors import ConfigError
from turnout.nn.statistics.load import load

if TYPE_CHECKING:
    from turnout.nn.statistics.base import RoutingStats

HEADS = {
    "experts_per_token": "experts/token",
    "coefficient_of_variation": "load CV",
    "max_violation": "max violation",
    "dead_experts": "dead",
    "load_entropy": "load entropy",
    "score_entropy": "score entropy",
    "effective_support": "support",
    "token_sparsity": "sparsity",
    "dropped": "dropped",
}


def table(stats: RoutingStats) -> Any:
    """A rich table, a row a layer and their mean."""
    from rich import box
    from rich.table import Table

    by_layer, mean = stats.by_layer(), stats.summary()
    names = [name for name in HEADS if name in mean]
    made = Table("layer", box=box.SIMPLE, title=f"Routing over {stats.tokens:,} tokens")
    for name in names:
        made.add_column(HEADS[name], justify="right")
    for layer, figures in by_layer.items():
        made.add_row(str(layer), *(_cell(figures[name]) if name in figures else "—" for name in names))
    if len(by_layer) > 1:
        made.add_section()
        made.add_row("mean", *(_cell(mean[name]) for name in names))
    return made


def text(stats: RoutingStats) -> str:
    """The table without colours."""
    from rich.console import Console

    console = Console(width=120, no_color=True, force_terminal=False)
    with console.capture() as captured:
        console.print(table(stats))
    return captured.get().rstrip()


def figure(stats: RoutingStats) -> Any:
    """Load by layer and expert as a heat map, its histogram, and score entropy by layer."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("plots need matplotlib: install turnout[report]") from error
    stats.summary()  # refuses where nothing was routed
    layers = stats.layers
    shares = [_relative_load(stats.counts(layer)) for layer in layers]
    made = Figure(figsize=(10, 1.9 + 0.25 * len(layers)), layout="constrained")
    heat, histogram, entropy = made.subplots(1, 3, width_ratios=(2, 1, 1))
    widest = max(map(len, shares))
    padded = [row + [float("nan")] * (widest - len(row)) for row in shares]
    image = heat.imshow(padded, aspect="auto", cmap="RdBu_r", vmin=0, vmax=2, interpolation="nearest")
    heat.set(xlabel="expert", ylabel="layer", yticks=range(len(layers)), yticklabels=layers, title="load (1 = even)")
    made.colorbar(image, ax=heat, extend="max")
    histogram.hist([value for row in shares for value in row], bins=20, color="#4477aa")
    histogram.axvline(1.0, color="0.3", linewidth=1, linestyle="--")
    histogram.set(xlabel="load", ylabel="experts", title="experts by load")
    figures = stats.by_layer().values()
    entropy.bar([str(layer) for layer in layers], [row.get("score_entropy", 0.0) for row in figures], color="#4477aa")
    entropy.set(xlabel="layer", ylim=(0, 1), title="score entropy / log E")
    return made


def _relative_load(counts_E: Tensor) -> list[float]:
    """Each expert's load over the mean; 0 where nothing was routed."""
    return (load(counts_E) * len(counts_E)).tolist() if bool(counts_E.any()) else [0.0] * len(counts_E)


def _cell(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.3f}"
