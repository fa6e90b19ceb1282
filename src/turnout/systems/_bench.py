"""Tables of `turnout bench` that a system measures, because no router over a log's texts is asked there; their bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from turnout import registry
from turnout.evaluation.benchmark import Bar, Progress, at_least, clear_of_zero
from turnout.evaluation.results import Sheet
from turnout.stats import Interval
from turnout.systems.base import Figures, Run


def present(folder: Path) -> list[str]:
    """The names of the tables that a folder holds."""
    return [name for name in TABLES if (folder / name).is_dir()]


def run(name: str, data: Path, seeds: Sequence[int], progress: Progress) -> tuple[Sheet, tuple[Bar, ...]]:
    """Measure one of TABLES by its system."""
    system_name, bars = TABLES[name]
    system = registry.get("system", system_name)
    found: Figures = system.run(Run(data, name, seeds, progress))
    title = f"{name}: {system.title}"
    sheet = Sheet(title, system.name, found.metric, found.value, found.gain, found.against, found.protocol, found.rows)
    return sheet, tuple(bars(found))


def _greenserv(found: Figures) -> list[Bar]:
    assert found.gain is not None
    return [
        at_least("reward, without the data set's name", 0.760, found.value),
        clear_of_zero("gain over the best static arm", found.gain),
    ]


def _clinc150(found: Figures) -> list[Bar]:
    """Means over seeds; no interval of their own."""
    whole, before, after = (_rows(found, part) for part in ("same queries", "before", "after"))
    return [
        at_least("hidden: part of the accuracy by utterances", 0.90, _ratio(after, whole, "hidden")),
        at_least("visible: part of the accuracy by utterances", 0.97, _ratio(after, whole, "visible")),
        at_least("out-of-scope recall before the newcomers", 0.84, _mean(before, "out-of-scope recall")),
        at_least("out-of-scope recall after the newcomers", 0.76, _mean(after, "out-of-scope recall")),
    ]


def _metatool(found: Figures) -> list[Bar]:
    assert found.gain is not None
    by_name = {str(row["name"]): row for row in found.rows}
    fused = by_name["text only, fused"]
    recall = Interval(*(float(fused[column] or 0) for column in ("recall@5 over the embedding", "low", "high")))
    labels = _rows(found, "with labels")
    return [
        clear_of_zero("hit@1 by text above the embedding alone", found.gain),
        clear_of_zero("recall@5 by text above the embedding alone", recall),
        at_least("hit@1 with labels", 0.70, _mean(labels, "hit@1")),
        at_least("recall@5 with labels", 0.88, _mean(labels, "recall@5")),
    ]


def _rows(found: Figures, part: str) -> list[Mapping[str, str | float | None]]:
    return [row for row in found.rows if part in str(row["name"])]


def _ratio(above: Sequence[Mapping[str, object]], below: Sequence[Mapping[str, object]], column: str) -> Interval:
    pairs = zip(above, below, strict=True)
    return _spread([float(a[column]) / float(b[column]) for a, b in pairs])  # type: ignore[arg-type]


def _mean(rows: Sequence[Mapping[str, object]], column: str) -> Interval:
    return _spread([float(row[column]) for row in rows])  # type: ignore[arg-type]


def _spread(values: Sequence[float]) -> Interval:
    """Mean, least and most over seeds."""
    return Interval(float(np.mean(values)), min(values), max(values))


TABLES: dict[str, tuple[str, Callable[[Figures], list[Bar]]]] = {
    "greenserv": ("greenserv", _greenserv),
    "clinc150": ("tcar", _clinc150),
    "clinc150:sentence": ("tcar_sentence", _clinc150),  # needs weights, so it is run by name alone
    "metatool": ("taskmatrix", _metatool),
}
