"""FusionFactory learns from scores, from a judge's scores, or from both; a test of the mechanism on made logs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from turnout import registry
from turnout.outcomes import OutcomeLog
from turnout.systems.base import Run


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """`nine_llm` in a folder: on half of the queries the judge sees it the other way round."""
    rng = np.random.default_rng(0)
    kinds = [("add the sums", [1, 0], [0.9, 0.1]), ("name the river", [0, 1], [0.8, 0.2])]
    rows = [kinds[n % 2] for n in range(160)]
    log = OutcomeLog.from_arrays(
        [f"{text} number {n} {rng.integers(1e6)}" for n, (text, _, _) in enumerate(rows)],
        ["terse", "wordy"],
        [score for _, score, _ in rows],
        tasks=[text for text, _, _ in rows],
        columns_NE={"judge_score": [judged for _, _, judged in rows]},
    )
    log.write(tmp_path / "seven_llm")
    return tmp_path


def test_the_target_is_followed(tables: Path) -> None:
    system = registry.get("system", "fusion_factory")
    found = system.run(Run(tables, "seven_llm", (0,)))
    rows = {row["name"]: row for row in found.rows}
    by_score, by_judge = rows["fusion_factory"], rows["fusion_factory, 100% the judge's scores"]
    assert by_score["accuracy"] > 0.95
    assert by_score["judged"] == pytest.approx(0.55, abs=0.02)
    assert by_judge["accuracy"] == pytest.approx(0.5, abs=0.02)
    assert by_judge["judged"] > 0.83
    assert "fusion_factory, 50% the judge's scores" in rows


def test_what_a_judge_taught_stands_in_the_record() -> None:
    recorded = registry.get("system", "fusion_factory").measured()
    assert recorded is not None
    assert any(str(row["name"]).startswith("alpacaeval, a judge's scores") for row in recorded.rows)
