"""From traces to an outcome log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from turnout.errors import LogError
from turnout.outcomes import OutcomeLog
from turnout.store.traces import TraceStore
from turnout.types import Decision, Plan, Trace, Usage


def trace(name: str, expert: str, *, width: int = 100, prompt: str | None = None, cost: float | None = 2e-6) -> Trace:
    seed = sum(map(ord, name))
    signals = {"embedding": np.random.default_rng(seed).normal(size=width).astype(np.float32)}
    decision = Decision(
        Plan(expert), "explored", ("a", "b"), (True, True), cost=(1e-6, 3e-6), propensity=0.25, signals=signals
    )
    return Trace(name, 1.0, "auto", decision, [], expert, 200, Usage(3, 4), cost, 0.5, prompt=prompt, response=prompt)


def export(path: Path, *traces: Trace, keep: str = "signals", scored: int = 3) -> OutcomeLog:
    with TraceStore(path / "t.sqlite", keep=keep, max_days=1e9) as store:  # type: ignore[arg-type]
        for each in traces:
            store.put(each)
        for each in traces[:scored]:
            store.feedback(each.id, 1.0)
        return store.export(path / "log")


def test_scored_traces_become_a_log_without_text(tmp_path: Path) -> None:
    log = export(tmp_path, trace("x", "a", prompt="secret"), trace("y", "b", cost=None), trace("z", "a"), scored=2)
    assert (log.query_ids, log.experts, log.has_text) == (["x", "y"], ("a", "b"), False)
    again = OutcomeLog.read(tmp_path / "log")
    assert again.fingerprint() == log.fingerprint()
    assert again.is_bandit
    np.testing.assert_array_equal(again.matrix("propensity"), [[0.25, np.nan], [np.nan, 0.25]])
    np.testing.assert_array_equal(again.matrix("cost"), [[2e-6, np.nan], [np.nan, 3e-6]])  # an estimate where unknown
    assert again.matrix("completion_tokens")[0, 0] == 4
    original_D = trace("x", "a").decision.signals["embedding"]  # type: ignore[union-attr]
    stored_D = again.signals()["embedding"][0]
    assert np.abs(stored_D - original_D).max() <= np.abs(original_D).max() / 127


def test_text_comes_along_where_it_was_kept(tmp_path: Path) -> None:
    log = export(tmp_path, trace("x", "a", prompt="hello"), trace("y", "b", prompt="you"), keep="prompts")
    assert log.texts == ["hello", "you"]


def test_vectors_of_another_width_are_left_out(tmp_path: Path) -> None:
    log = export(tmp_path, trace("x", "a"), trace("y", "b", width=70), trace("z", "a"))
    values = log.signals()["embedding"]
    assert values.shape == (3, 100)
    assert np.isnan(values[1]).all()


def test_nothing_to_export_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no trace has an outcome yet"):
        export(tmp_path, trace("x", "a"), scored=0)


def test_a_router_is_fitted_on_the_export_without_text(tmp_path: Path) -> None:
    """The loop closed: what was served, with feedback, becomes the next router."""
    from turnout.routers import Router
    from turnout.signals.format import Format
    from turnout.types import Request

    words = ["river", "1969", "tall", "Peru", "why", "blue"]
    asks = [f"who was {words[i % 6]} {'and ' * (i % 40)}number {i}?" for i in range(240)]
    codes = [f"def f_{i}(x):\n    return x + {i}\n" + "    # more\n" * (i % 50) for i in range(240)]
    texts = [codes[i] if i % 2 else asks[i] for i in range(240)]
    signal = Format().fit(texts)
    with TraceStore(tmp_path / "t.sqlite") as store:
        for i, text in enumerate(texts):
            expert = "code" if (i // 2) % 2 else "chat"
            signals = {"format": np.asarray(signal.transform([text]))[0]}
            decision = Decision(
                Plan(expert), "explored", ("code", "chat"), (True, True), propensity=0.5, signals=signals
            )
            store.put(Trace(f"t{i}", 2e9, "auto", decision, [], expert, 200, Usage(3, 4), 1e-6, 0.5))
            store.feedback(f"t{i}", float((expert == "code") == bool(i % 2)))
        log = store.export(tmp_path / "log")
    assert not log.has_text
    router = Router.fit(log, signals={"format": signal})
    assert not router.guard.abstains, router.guard.words()
    fresh = "def f_900(x):\n    return x + 900\n" + "    # more\n" * 7
    chosen = router.decide([Request(fresh), Request("who was tall and number 900?")])
    assert [decision.expert for decision in chosen] == ["code", "chat"]
