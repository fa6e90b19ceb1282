"""Agents by their cards, measured on a small made table: newcomers are found, the others stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from turnout import registry
from turnout.errors import ParameterError
from turnout.systems.base import Run
from turnout.testing.encoders import tensors, write

THINGS = [
    "weather", "stock", "recipe", "flight", "song", "workout", "bank", "garden", "lawyer", "engine", "doctor",
    "film", "taxi", "hotel", "pizza", "laundry", "school", "library", "museum", "train", "bicycle", "camera",
    "phone", "laptop", "printer", "coffee", "wine", "cheese", "bread", "fish", "horse", "dog", "cat", "bird",
    "tree", "river", "mountain", "desert", "ocean", "island",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 intents of one thing each; out of scope are words that no card has."""
    home = tmp_path_factory.mktemp("agents")
    (home / "agent_cards").mkdir()
    agents = "".join(
        f"<Agent><ID>made:{thing}</ID><Name>{thing}</Name><Description>Answers on {thing}, every {thing} question."
        "</Description></Agent>"
        for thing in THINGS
    )
    (home / "agent_cards" / "clinc150.xml").write_text(f"<Agents>{agents}</Agents>")
    rng = np.random.default_rng(0)
    frames = ("tell me of the {} now {}", "i want a {} please {}", "where is my {} today {}")
    counts = {"train": 9, "val": 4, "test": 4}
    rows = [
        {"split": split, "text": frames[int(rng.integers(3))].format(thing, rng.integers(1000)), "intent": thing}
        for split, count in counts.items()
        for thing in THINGS
        for _ in range(count)
    ]
    strange = [f"zq{n} vlom krsh {n}" for n in range(20)]
    rows += [{"split": f"oos_{split}", "text": text, "intent": "oos"} for split in counts for text in strange]
    (home / "clinc150").mkdir()
    pl.DataFrame(rows).write_parquet(home / "clinc150" / "utterances.parquet")
    return home


def rows(found: Any) -> dict[str, dict[str, Any]]:
    return {str(row["name"]): dict(row) for row in found.rows}


def test_newcomers_are_found_by_their_cards(data: Path) -> None:
    found = registry.get("system", "tcar").run(Run(data, "clinc150", (0,)))
    after = rows(found)["seed 0: after 30 by card"]
    assert after["hidden"] > 0.6
    assert after["visible"] > 0.8
    assert found.value.mean == pytest.approx(after["hidden"])
    assert rows(found)["seed 0: before"]["hidden"] is None


def test_a_sentence_encoder_reads_cards_and_texts(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = registry.get("system", "tcar_sentence")
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path))
    with pytest.raises(ParameterError, match="turnout models pull"):
        system.run(Run(data, "clinc150", (0,)))
    (tmp_path / "models").mkdir()
    write(tmp_path / "models" / "all-minilm-l6-v2.safetensors", tensors())
    assert rows(system.run(Run(data, "clinc150", (0,))))["seed 0: before"]["accuracy"] > 0.5  # the cards' words help
