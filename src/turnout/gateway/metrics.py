"""What the gateway counts, in Prometheus' text format. Each gateway has a registry of its own.

Counts are plain numbers that the event loop alone adds to; they become metric families when a scrape asks. The client
library's own counters take a lock per addition, which was an eighth of a request's CPU.

Labels have few values by construction: expert ids come from the pool, statuses and reasons from fixed sets; nothing
that a client sends becomes a label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from turnout.types import Trace

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
NOBODY = "none"


class TraceCounts(Protocol):
    """The store's own counts."""

    written: int
    dropped: int


class Metrics(Collector):
    """Counts of one gateway; `observe` takes a finished trace, `page` is what a scrape reads.

    >>> metrics = Metrics()
    >>> metrics.refused["401"] += 1
    >>> b'turnout_refused_total{status="401"} 1.0' in metrics.page()
    True
    """

    def __init__(self, store: TraceCounts | None = None) -> None:
        self._store = store
        self.inflight = 0
        self.refused: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self._requests: Counter[tuple[str, int | None, str]] = Counter()
        self._retries: Counter[str] = Counter()
        self._upstream: Counter[tuple[str, str]] = Counter()
        self._experts: dict[str, _Expert] = {}
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def observe(self, trace: Trace) -> None:
        """Count a finished request and its attempts."""
        name, decision = trace.expert or NOBODY, trace.decision
        self._requests[name, trace.status, decision.reason if decision else NOBODY] += 1
        expert = self._experts.get(name)
        if expert is None:
            expert = self._experts[name] = _Expert()
        expert.observe(trace)
        for number, call in enumerate(trace.calls):
            if number:
                self._retries[call.expert] += 1
            if call.error:
                self._upstream[call.expert, call.error.partition(":")[0]] += 1

    def page(self) -> bytes:
        """Everything, as a scrape reads it."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The families, made from the counts as they are now."""
        requests = CounterMetricFamily("turnout_requests", "By who answered", labels=["expert", "status", "reason"])
        for (name, status, reason), count in self._requests.items():
            requests.add_metric([name, str(status), reason], count)
        yield requests
        yield from _by_expert(self._experts)
        yield _counter("turnout_retries", "Attempts after the first", "expert", self._retries)
        upstream = CounterMetricFamily("turnout_upstream_errors", "Failed attempts", labels=["expert", "error"])
        for (name, error), count in self._upstream.items():
            upstream.add_metric([name, error], count)
        yield upstream
        yield _counter("turnout_broken_answers", "Broke off after the first byte", "expert", self.broken)
        yield _counter("turnout_refused", "Callers turned away", "status", self.refused)
        yield GaugeMetricFamily("turnout_inflight_requests", "Requests being served", value=self.inflight)
        written, dropped = (self._store.written, self._store.dropped) if self._store is not None else (0, 0)
        yield CounterMetricFamily("turnout_traces_written", "Traces committed to the store", value=written)
        yield CounterMetricFamily("turnout_traces_dropped", "Traces that could not be kept", value=dropped)


class _Histogram:
    """Counts per bucket of SECONDS, the last one for all above."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts, self.total = [0] * (len(SECONDS) + 1), 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        names = [*map(str, SECONDS), "+Inf"]
        return [(name, float(count)) for name, count in zip(names, accumulate(self.counts), strict=True)]


class _Expert:
    """What one expert did."""

    __slots__ = ("completion", "cost", "first_byte", "prompt", "seconds")

    def __init__(self) -> None:
        self.prompt = self.completion = 0
        self.cost = 0.0
        self.seconds, self.first_byte = _Histogram(), _Histogram()

    def observe(self, trace: Trace) -> None:
        if trace.latency_s is not None:
            self.seconds.observe(trace.latency_s)
        if trace.first_byte_s is not None:
            self.first_byte.observe(trace.first_byte_s)
        usage = trace.usage
        self.prompt += max(0, usage.prompt_tokens or 0)
        self.completion += max(0, usage.completion_tokens or 0)
        self.cost += max(0.0, trace.cost or 0.0)


def _by_expert(experts: dict[str, _Expert]) -> Iterator[Metric]:
    seconds = HistogramMetricFamily("turnout_request_seconds", "Until the last byte", labels=["expert"])
    first_byte = HistogramMetricFamily("turnout_first_byte_seconds", "Until the first byte", labels=["expert"])
    tokens = CounterMetricFamily("turnout_tokens", "As experts report them", labels=["expert", "kind"])
    cost = CounterMetricFamily("turnout_cost_dollars", "US dollars, from prices and usage", labels=["expert"])
    for name, expert in experts.items():
        seconds.add_metric([name], expert.seconds.buckets(), expert.seconds.total)
        first_byte.add_metric([name], expert.first_byte.buckets(), expert.first_byte.total)
        tokens.add_metric([name, "prompt"], expert.prompt)
        tokens.add_metric([name, "completion"], expert.completion)
        cost.add_metric([name], expert.cost)
    yield from (seconds, first_byte, tokens, cost)


def _counter(name: str, text: str, label: str, counts: Counter[str]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
