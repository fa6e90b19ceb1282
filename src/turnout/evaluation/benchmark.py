"""The quality bars that the product holds itself to, on public tables: wanted, measured, pass or miss.

Every figure comes from queries that the router never saw. Budgets are met by λ chosen on cross-fitted estimates of the
training side; nothing is chosen on the test side.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from turnout.errors import UnknownNameError
from turnout.evaluation import datasets
from turnout.evaluation.baselines import BASELINES, Baseline, best_single, one_hot
from turnout.evaluation.pairs import LENGTH
from turnout.evaluation.protocol import (
    Method,
    Rule,
    Study,
    as_fitted,
    cheapest_as_good,
    crossval,
    few_labels,
    fixed,
    held_out,
    shares,
    study,
    within,
)
from turnout.evaluation.results import REFERENCE, Evaluation, PairRow
from turnout.evaluation.tables import Table
from turnout.features import Floats
from turnout.stats import Interval

if TYPE_CHECKING:
    from turnout.outcomes import OutcomeLog

Progress = Callable[[int, int], None] | None
Seeds = Sequence[int]
MMLU_LABELS = 1500
CAREFUL = 0.5  # standard errors held back where quality must be kept at less cost


@dataclass(frozen=True)
class Bar:
    """One bar. `gap` is measured − wanted in the direction that is better, so a miss is negative."""

    claim: str
    wanted: str
    measured: Interval
    passed: bool
    gap: float
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "claim": self.claim,
            "wanted": self.wanted,
            "measured": self.measured._asdict(),
            "passed": self.passed,
            "gap": self.gap,
            "note": self.note,
        }


@dataclass(frozen=True)
class Outcome:
    """One table's evaluation and bars."""

    name: str
    evaluation: Evaluation
    bars: tuple[Bar, ...]


def table_of(name: str) -> str:
    """The dataset that a bench reads: what stands before the colon.

    >>> table_of("seven_llm:families")
    'seven_llm'
    """
    return name.partition(":")[0]


def run(
    name: str, data: Path, methods: Sequence[Method], *, seeds: Seeds = (0, 1, 2, 3, 4), progress: Progress = None
) -> Outcome:
    """Measure one of BENCHES with the table in `data`; the bars are for the first method."""
    if name not in BENCHES:
        raise UnknownNameError("bench", name, BENCHES)
    log = datasets.load(table_of(name), data)
    entry = next(known for known in datasets.DATASETS if known.name == table_of(name))
    found, bars = BENCHES[name](log, methods, seeds, progress)
    facts = {**found.evaluation.facts, "source": entry.source, "licence": entry.licence, "cost": entry.cost}
    title, nominal = f"{name}: {entry.title}", entry.cost.startswith("nominal")
    evaluation = replace(found.evaluation, title=title, facts=facts, nominal=nominal)
    return Outcome(name, evaluation, tuple(bars))


def at_least(claim: str, wanted: float, measured: Interval, note: str = "") -> Bar:
    """Passed where the mean reaches `wanted`."""
    gap = measured.mean - wanted
    return Bar(claim, f"≥ {wanted:g}", measured, gap >= 0, gap, note)


def at_most(claim: str, wanted: float, measured: Interval, note: str = "") -> Bar:
    """Passed where the mean stays within `wanted`."""
    gap = wanted - measured.mean
    return Bar(claim, f"≤ {wanted:g}", measured, gap >= 0, gap, note)


def clear_of_zero(claim: str, measured: Interval, note: str = "") -> Bar:
    """Passed where the whole 95 % interval lies above zero."""
    return Bar(claim, "interval above 0", measured, measured.low > 0, measured.low, note)


def clear_in_every_seed(claim: str, found: Study, name: str) -> Bar:
    """Passed where the interval lies above zero in each repetition; the least one is shown."""
    by_seed = found.by_seed(name, REFERENCE)
    worst = min(by_seed.values(), key=lambda interval: interval.low)
    clear = sum(interval.low > 0 for interval in by_seed.values())
    note = f"clear in {clear} of {len(by_seed)} seeds; the least is shown"
    return Bar(claim, "each interval above 0", worst, worst.low > 0, worst.low, note)


def _point(value: float) -> Interval:
    """A figure without an interval of its own."""
    return Interval(value, value, value)


def _draws(seeds: Seeds) -> str:
    return "one random draw" if len(seeds) == 1 else f"{len(seeds)} random draws"


def _half_cost(train: Table) -> float:
    return _part_of_best(train, 0.5)


def _part_of_best(train: Table, part: float) -> float:
    assert train.spend_NE is not None
    return part * float(train.spend_NE[:, best_single(train)].mean())


def _best_single_value(train: Table) -> Floats:
    return np.asarray(train.value_NE[:, best_single(train)])


def nine_llm(log: OutcomeLog, methods: Sequence[Method], seeds: Seeds, progress: Progress) -> tuple[Study, list[Bar]]:
    """Above the best single expert in every seed, 0.640 and 0.658; its quality at half and at 40 % of its cost."""
    half = within(_half_cost, "at half cost", "spends at most half of what the best single expert costs")
    equal = cheapest_as_good(
        _best_single_value,
        "at equal quality",
        "least cost at the best single expert's quality on the training side",
        CAREFUL,
    )
    found = crossval(methods, log, seeds=seeds, rules=(as_fitted(), half, equal), progress=progress)
    name = methods[0].name
    row = found.evaluation.row(name)
    cheap, as_good = f"{name} at half cost", f"{name} at equal quality"
    assert row.gain is not None
    return found, [
        clear_of_zero("gain over the best single expert", row.gain),
        clear_in_every_seed("… in every seed", found, name),
        at_least("accuracy", 0.640, row.accuracy),
        at_least("accuracy", 0.658, row.accuracy, "a classifier of the task on MiniLM embeddings"),
        at_least("accuracy above the table by true task", 0.0, found.difference(name, "task table"), "stretch"),
        at_least("gain over the best single expert at half its cost", 0.0, found.difference(cheap, REFERENCE)),
        at_most("… and its cost as a part of the best single expert's", 0.5, found.cost_ratio(cheap, REFERENCE)),
        at_least("difference to the best single expert at equal quality", 0.0, found.difference(as_good, REFERENCE)),
        at_most("… and its cost as a part of the best single expert's", 0.4, found.cost_ratio(as_good, REFERENCE)),
    ]


def _pair_row(found: Study, name: str) -> PairRow:
    assert found.evaluation.pair is not None
    return next(row for row in found.evaluation.pair.rows if row.name == name)


def mmlu(log: OutcomeLog, methods: Sequence[Method], seeds: Seeds, progress: Progress) -> tuple[Study, list[Bar]]:
    """RouteLLM's protocol with 1,500 labels: APGR above prompt length, and 0.63."""
    splits = few_labels(Table.of(log), MMLU_LABELS, seeds)
    protocol = (
        f"RouteLLM's protocol (thresholds at the ten quantiles of the scores): {MMLU_LABELS} labelled queries to learn "
        f"from, all others to test, {_draws(seeds)} of the labels"
    )
    found = study(methods, log, splits, protocol=protocol, progress=progress)
    row = _pair_row(found, methods[0].name)
    assert row.gain is not None
    return found, [
        clear_of_zero("APGR gained over prompt length", row.gain, f"length {_pair_row(found, LENGTH).apgr.mean:.3f}"),
        at_least(
            "APGR", 0.63, row.apgr, f"CPT50 {row.cpt50:.1%}, CPT80 {row.cpt80:.1%}; published .603, 35.4 %, 70.3 %"
        ),
        at_least("APGR", 0.65, row.apgr, "MiniLM, TF-IDF and length stacked: .635"),
        at_most(
            "share of strong calls that recovers half of the gap (CPT50)", 0.29, _point(row.cpt50), "stacked: .304"
        ),
    ]


def gsm8k(log: OutcomeLog, methods: Sequence[Method], seeds: Seeds, progress: Progress) -> tuple[Study, list[Bar]]:
    """APGR above prompt length, and 0.68; five-fold."""
    found = crossval(methods, log, seeds=seeds, progress=progress)
    row = _pair_row(found, methods[0].name)
    assert row.gain is not None
    absolute = f"APGR {row.apgr.mean:.3f} [{row.apgr.low:.3f}, {row.apgr.high:.3f}]"
    note = f"length {_pair_row(found, LENGTH).apgr.mean:.3f}; {absolute}; published .622"
    return found, [
        clear_of_zero("APGR gained over prompt length", row.gain, note),
        at_least("APGR", 0.68, row.apgr, "MiniLM, TF-IDF and length stacked: .672"),
    ]


def local_pool(log: OutcomeLog, methods: Sequence[Method], seeds: Seeds, progress: Progress) -> tuple[Study, list[Bar]]:
    """The best arm's score at 70 % of its cost, and above every arm at that arm's cost."""
    rules = [as_fitted(), within(lambda train: _part_of_best(train, 0.7), "at 70 % cost", "spends at most 70 %")]
    rules += [_like(column, name) for column, name in enumerate(log.experts)]
    arms = tuple(_always(column, name) for column, name in enumerate(log.experts))
    found = crossval(methods, log, seeds=seeds, rules=rules, baselines=BASELINES + arms, progress=progress)
    name, cheap = methods[0].name, f"{methods[0].name} at 70 % cost"
    bars = [
        at_least("gain over the best arm at 70 % of its cost", 0.0, found.difference(cheap, REFERENCE)),
        at_most("… and its cost as a part of the best arm's", 0.7, found.cost_ratio(cheap, REFERENCE)),
    ]
    assert found.table.spend_NE is not None
    cheapest = found.table.experts[int(found.table.spend_NE.mean(axis=0).argmin())]
    for arm in log.experts:
        ratio = found.cost_ratio(f"{name} for the cost of {arm}", f"always {arm}")
        gain = found.difference(f"{name} for the cost of {arm}", f"always {arm}")
        bars.append(_above(arm, gain, ratio, arm == cheapest))
    kept = tuple(row for row in found.evaluation.rows if not row.name.startswith((f"{name} for the cost", "always ")))
    return replace(found, evaluation=replace(found.evaluation, rows=kept)), bars


def _above(arm: str, gain: Interval, ratio: Interval, cheapest: bool) -> Bar:
    claim, note = f"gain over {arm} for no more than its cost", f"at {ratio.mean:.0%} of its cost"
    affordable = ratio.mean <= 1 + 1e-9
    if cheapest:  # nothing costs less, so its equal is the best that can be had
        return Bar(claim, "≥ 0", gain, gain.mean >= 0 and affordable, gain.mean, note)
    return Bar(claim, "> 0", gain, gain.mean > 0 and affordable, gain.mean, note)


def _like(column: int, name: str) -> Rule:
    def budget(train: Table) -> float:
        assert train.spend_NE is not None
        return float(train.spend_NE[:, column].mean())

    return within(budget, f"for the cost of {name}", f"spends at most what {name} costs")


def _always(column: int, name: str) -> Baseline:
    def choose(train: Table, test: Table) -> Floats:
        return one_hot([column] * len(test), len(train.experts))

    return Baseline(f"always {name}", f"{name} for every query", choose)


def seven_llm(log: OutcomeLog, methods: Sequence[Method], seeds: Seeds, progress: Progress) -> tuple[Study, list[Bar]]:
    """The table's own training side against its test side."""
    table = Table.of(log)
    splits = fixed(table, [task.endswith("train") for task in log.tasks or ()], seeds[:1])
    protocol = "the table's own split, training queries that are near-duplicates of tested ones left out"
    found = study(methods, log, splits, protocol=protocol, progress=progress)
    row = found.evaluation.row(methods[0].name)
    assert row.gain is not None
    return found, [
        clear_of_zero("gain over the best single expert", row.gain),
        at_least("accuracy", 0.500, row.accuracy, "table by true task .502"),
    ]


def seven_llm_at_random(
    log: OutcomeLog, methods: Sequence[Method], seeds: Seeds, progress: Progress
) -> tuple[Study, list[Bar]]:
    """All rows, 70 % of them drawn to learn from."""
    protocol = f"70 % of all queries drawn to learn from, 30 % to test, {_draws(seeds)}"
    found = study(methods, log, shares(Table.of(log), 0.7, seeds), protocol=protocol, progress=progress)
    row = found.evaluation.row(methods[0].name)
    assert row.gain is not None
    return found, [
        clear_of_zero("gain over the best single expert", row.gain),
        at_least("accuracy", 0.513, row.accuracy),
    ]


def family(task: str) -> str:
    """A task's name without its side.

    >>> family("gsm8k-train"), family("mmlu_test"), family("humaneval")
    ('gsm8k', 'mmlu', 'humaneval')
    """
    return re.sub(r"[-_](train|test)$", "", task)


def seven_llm_families(
    log: OutcomeLog, methods: Sequence[Method], seeds: Seeds, progress: Progress
) -> tuple[Study, list[Bar]]:
    """Each family of tasks tested by what the others taught: never half a point below the train-chosen best."""
    part_N = [family(task) for task in log.tasks or ()]
    protocol = "each family of tasks is tested by a router that learned from the other families alone"
    found = study(methods, log, held_out(Table.of(log), part_N, seeds[:1]), protocol=protocol, progress=progress)
    return found, [
        at_least(
            f"difference to the train-chosen best single expert on {part}, unseen",
            -0.005,
            found.difference(methods[0].name, REFERENCE, np.flatnonzero(np.array(part_N) == part)),
        )
        for part in dict.fromkeys(part_N)
    ]


def routerbench(
    log: OutcomeLog, methods: Sequence[Method], seeds: Seeds, progress: Progress
) -> tuple[Study, list[Bar]]:
    """AIQ above a coin between single experts, λ and hull fixed on the training side."""
    found = crossval(methods, log, seeds=seeds, progress=progress)
    name = methods[0].name
    aiq, zero = found.evaluation.row(name).aiq, found.evaluation.aiq_singles
    note = "" if aiq is None or zero is None else f"AIQ {aiq:.4f}, zero router {zero:.4f}"
    return found, [at_least("AIQ above the zero router's", 0.030, found.aiq_gain(name), note)]


def alpacaeval(log: OutcomeLog, methods: Sequence[Method], seeds: Seeds, progress: Progress) -> tuple[Study, list[Bar]]:
    """Above the best single expert, or an honest abstention: its choice itself."""
    found = crossval(methods, log, seeds=seeds, progress=progress)
    row = found.evaluation.row(methods[0].name)
    assert row.gain is not None
    difference_N = found.measured[row.name].value_N - found.measured[REFERENCE].value_N
    abstains = not difference_N.any()
    note = f"best single {found.evaluation.row(REFERENCE).accuracy.mean:.3f}" + (", abstains" if abstains else "")
    claim, wanted = "gain over the best single expert", "interval above 0, or abstention"
    return found, [Bar(claim, wanted, row.gain, abstains or row.gain.low > 0, row.gain.low, note)]


Bench = Callable[["OutcomeLog", Sequence[Method], Seeds, Progress], tuple[Study, list[Bar]]]
BENCHES: dict[str, Bench] = {
    "nine_llm": nine_llm,
    "routellm_mmlu": mmlu,
    "routellm_gsm8k": gsm8k,
    "local_pool": local_pool,
    "seven_llm": seven_llm,
    "seven_llm:70_30": seven_llm_at_random,
    "seven_llm:families": seven_llm_families,
    "routerbench_subset": routerbench,
    "alpacaeval": alpacaeval,
}
