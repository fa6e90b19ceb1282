"""Every registered system says what it is, builds, and stands in the generated page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from turnout import registry
from turnout.base import Component, Registered
from turnout.cli._evaluation import numbers
from turnout.outcomes import OutcomeLog
from turnout.routers import Router
from turnout.systems.base import Figures, System, markdown, systems

PAGE = Path(__file__).parents[2] / "docs" / "systems.md"
NAMES = registry.names("system")


def test_avengers_is_registered() -> None:
    assert "avengers" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_system_says_what_it_is(name: str) -> None:
    system = registry.get("system", name)
    assert isinstance(system, System)
    assert system.name == name
    assert system.title
    assert system.claim.text.endswith(".")
    assert system.claim.source
    assert system.limits
    assert system.level in {"request", "in-model"}
    assert system.command.startswith(f"turnout systems run {name} --seeds ")


@pytest.mark.parametrize("name", NAMES)
def test_its_parts_are_registered_and_are_what_it_builds(name: str) -> None:
    system = registry.get("system", name)
    if system.level == "in-model":
        pytest.importorskip("torch")
    built = components(system.build())
    assert built or (system.novelty == "statistics" and system.build())
    if system.novelty == "statistics":
        assert {part.partition(":")[0] for part in system.parts} <= set(registry.ROOMS)
    elif system.level == "in-model":  # a layer also has the parts that nothing was said about
        assert set(system.parts) <= built
    else:
        assert set(system.parts) == built
    for part in system.parts:
        kind, _, registered = part.partition(":")
        assert registered in registry.names(kind)


def components(value: Any) -> set[str]:
    """Every registered part in what a preset builds, with the signals that estimators read."""
    if isinstance(value, Component):
        read = {f"signal:{signal}" for signal in getattr(value, "signals", ())}
        inside = [components(one) for one in value.params().values()]
        return {f"{value.kind}:{value.name}", *read}.union(*inside)
    if hasattr(value, "modules"):  # a part of a network, or a module made of parts
        return {f"{part.kind}:{part.name}" for part in value.modules() if isinstance(part, Registered)}
    if isinstance(value, Mapping):
        value = tuple(value.values())
    return set().union(*(components(one) for one in value)) if isinstance(value, (tuple, list)) else set()


ROUTERS = [name for name in NAMES if registry.get("system", name).measure is None]


@pytest.mark.parametrize("name", ROUTERS)
def test_a_router_fits_and_decides(name: str) -> None:
    if "estimator:fine_tuned" in registry.get("system", name).parts:
        pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    prompts = [f"{'add the sums' if n % 2 else 'name the river'} number {n} {rng.integers(1e6)}" for n in range(200)]
    tasks = ["sums" if n % 2 else "rivers" for n in range(200)]
    log = OutcomeLog.from_arrays(prompts, ["sums", "names"], [[n % 2, 1 - n % 2] for n in range(200)], tasks=tasks)
    router = Router.fit(log, **registry.get("system", name).build())
    chosen = router.choose(log)
    assert log.matrix()[np.arange(200), chosen].mean() > 0.9


def test_avengers_takes_the_best_expert_of_the_cluster() -> None:
    """Two tight clusters of texts; in each another expert is best by mean score, whatever single rows say."""
    prompts = [f"{'solve the equation x' if n < 64 else 'translate the poem'} {n}" for n in range(128)]
    scores = np.zeros((128, 2))
    scores[:64, 0], scores[64:, 1] = 1.0, 1.0
    scores[:10] = [0.0, 1.0]
    options = {**registry.get("system", "avengers").build()}
    options["estimator"] = options["estimator"].clone(k=2)
    router = Router.fit(OutcomeLog.from_arrays(prompts, ["a", "b"], scores), **options)
    assert router.choose(["solve the equation x 7", "translate the poem 9"]).tolist() == [0, 1]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), "run: turnout systems list --markdown > docs/systems.md"


def test_every_system_has_measured_figures_beside_baselines() -> None:
    for system in systems():
        found = system.measured()
        assert found is not None, f"run: {system.command} --record src/turnout/systems/measured/{system.name}.json"
        assert numbers(system.command.split()[-1]) == tuple(found.seeds)
        assert found.value.low <= found.value.mean <= found.value.high
        assert len(found.rows) > 1
        assert len({tuple(row) for row in found.rows}) == 1, "every row has the same columns"
        assert Figures.from_dict(found.to_dict()) == found
