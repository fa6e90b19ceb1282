"""What the gateway counts, in Prometheus' text format. Each gateway has a registry of its own.

Labels have few values by construction: expert ids come from the pool, statuses and reasons from fixed sets; nothing
that a client sends becomes a label.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from turnout.types import Trace

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class TraceCounts(Protocol):
    """The store's own counts."""

    written: int
    dropped: int


class Metrics:
    """Counters of one gateway; `observe` takes a finished trace."""

    def __init__(self, store: TraceCounts | None = None) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_StoreCollector(store))
        self._requests = Counter(
            "turnout_requests", "Requests, by who answered", ["expert", "status", "reason"], registry=registry
        )
        self._seconds = Histogram(
            "turnout_request_seconds", "Until its last byte", ["expert"], buckets=SECONDS, registry=registry
        )
        self._first_byte = Histogram(
            "turnout_first_byte_seconds",
            "Until its first byte",
            ["expert"],
            buckets=SECONDS,
            registry=registry,
        )
        self._tokens = Counter("turnout_tokens", "Tokens as experts report them", ["expert", "kind"], registry=registry)
        self._cost = Counter("turnout_cost_dollars", "US dollars, from prices and usage", ["expert"], registry=registry)
        self._retries = Counter("turnout_retries", "Attempts after the first", ["expert"], registry=registry)
        self._upstream = Counter("turnout_upstream_errors", "Failed attempts", ["expert", "error"], registry=registry)
        self.broken = Counter(
            "turnout_broken_answers", "Answers that broke off after their first byte", ["expert"], registry=registry
        )
        self.refused = Counter("turnout_refused", "Callers turned away, by status", ["status"], registry=registry)
        self.inflight = Gauge("turnout_inflight_requests", "Requests being served", registry=registry)
        self._by_expert = cache(_ExpertChildren)

    def observe(self, trace: Trace) -> None:
        """Count a finished request and its attempts."""
        name, decision = trace.expert or "none", trace.decision
        self._child(name, str(trace.status), decision.reason if decision else "none").inc()
        self._by_expert(self, name).observe(trace)
        for number, call in enumerate(trace.calls):
            if number:
                self._retries.labels(call.expert).inc()
            if call.error:
                self._upstream.labels(call.expert, call.error.partition(":")[0]).inc()

    def _child(self, expert: str, status: str, reason: str) -> Counter:
        return self._requests.labels(expert, status, reason)

    def page(self) -> bytes:
        """Everything, as a scrape reads it."""
        return generate_latest(self.registry)


class _ExpertChildren:
    """An expert's children of the labelled metrics, looked up once: `labels()` costs more than the count itself."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._seconds, self._first_byte = metrics._seconds.labels(name), metrics._first_byte.labels(name)
        self._prompt, self._completion = (metrics._tokens.labels(name, kind) for kind in ("prompt", "completion"))
        self._cost = metrics._cost.labels(name)

    def observe(self, trace: Trace) -> None:
        if trace.latency_s is not None:
            self._seconds.observe(trace.latency_s)
        if trace.first_byte_s is not None:
            self._first_byte.observe(trace.first_byte_s)
        self._prompt.inc(trace.usage.prompt_tokens or 0)
        self._completion.inc(trace.usage.completion_tokens or 0)
        self._cost.inc(max(0.0, trace.cost or 0.0))


class _StoreCollector(Collector):
    """The trace store counts on its own thread; a scrape reads it there."""

    def __init__(self, store: TraceCounts | None) -> None:
        self._store = store

    def collect(self) -> Iterator[CounterMetricFamily]:
        written = self._store.written if self._store else 0
        dropped = self._store.dropped if self._store else 0
        yield CounterMetricFamily("turnout_traces_written", "Traces committed to the store", value=written)
        yield CounterMetricFamily("turnout_traces_dropped", "Traces that could not be kept", value=dropped)
