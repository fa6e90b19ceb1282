"""Counts as a scrape reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from turnout.gateway.metrics import SECONDS, Metrics
from turnout.types import CallRecord, Decision, Plan, Trace, Usage


def trace(**fields: object) -> Trace:
    made = Trace("tr_1", 0.0, "turnout/auto", expert="a", status=200, usage=Usage(10, 5), cost=0.5, latency_s=0.2)
    made.decision, made.calls = Decision(Plan("a"), "routed", ("a", "b"), (True, True)), [CallRecord("a", 200)]
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(metrics.page().decode())
    return {(s.name, *map(str, sorted(s.labels.values()))): s.value for family in families for s in family.samples}


def test_requests_tokens_and_cost_add_up() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.observe(trace())
    found = samples(metrics)
    assert found["turnout_requests_total", "200", "a", "routed"] == 3
    assert found["turnout_tokens_total", "a", "completion"] == 15
    assert found["turnout_cost_dollars_total", "a"] == 1.5


def test_histograms_are_cumulative() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.2, 0.2, 1000.0):
        metrics.observe(trace(latency_s=seconds))
    found = samples(metrics)
    counts = [found["turnout_request_seconds_bucket", *sorted((str(edge), "a"))] for edge in SECONDS]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, 3)
    assert found["turnout_request_seconds_bucket", "+Inf", "a"] == found["turnout_request_seconds_count", "a"] == 4
    assert found["turnout_request_seconds_sum", "a"] == 1000.401


def test_failed_attempts_and_retries() -> None:
    metrics = Metrics()
    calls = [CallRecord("a", error="ExpertTimeout: late"), CallRecord("b", 200)]
    metrics.observe(trace(calls=calls, expert="b"))
    metrics.observe(trace(calls=[], expert=None, decision=None, status=400, usage=Usage(), cost=None))
    found = samples(metrics)
    assert found["turnout_upstream_errors_total", "ExpertTimeout", "a"] == 1
    assert found["turnout_retries_total", "b"] == 1
    assert found["turnout_requests_total", "400", "none", "none"] == 1


def test_nonsense_from_upstream_takes_nothing_back() -> None:
    metrics = Metrics()
    metrics.observe(trace(usage=Usage(-5, -5), cost=-1.0))
    found = samples(metrics)
    assert found["turnout_tokens_total", "a", "prompt"] == found["turnout_cost_dollars_total", "a"] == 0


def test_the_stores_counts_are_read_at_the_scrape() -> None:
    class Counts:
        written, dropped = 7, 2

        def __len__(self) -> int:
            return 0  # an empty store is still a store

    found = samples(Metrics(Counts()))
    assert (found["turnout_traces_written_total",], found["turnout_traces_dropped_total",]) == (7, 2)
