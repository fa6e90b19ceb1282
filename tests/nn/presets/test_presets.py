"""Every in-model preset builds, uses the parts it names, and says what its page needs."""

from __future__ import annotations

import pytest
import torch

from turnout import registry
from turnout.nn import KINDS
from turnout.nn.base import Part
from turnout.nn.layer import RoutedLayer
from turnout.nn.presets._basics import BASICS
from turnout.systems.base import System

NAMES = tuple(name for name in registry.names("system") if registry.get("system", name).level == "in-model")


def built(name: str) -> list[torch.nn.Module]:
    parts = registry.get("system", name).build().values()
    flat = [one for part in parts for one in (part if isinstance(part, (tuple, list)) else (part,))]
    return [one for one in flat if isinstance(one, torch.nn.Module)]


def test_presets_are_found() -> None:
    assert {"top_p", "rmoe", "blockffn"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_page_is_filled(name: str) -> None:
    system: System = registry.get("system", name)
    assert system.number is not None
    assert system.measure is not None
    assert system.deviations
    assert system.limits
    assert all(len(text) > 20 for text in (*system.deviations, *system.limits))
    assert any(part.partition(":")[0] in {*KINDS, "estimator", "signal"} for part in system.parts)


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_it_names_are_in_what_it_builds(name: str) -> None:
    if registry.get("system", name).novelty == "statistics":
        return  # it reads any layer's choices
    used = {f"{part.kind}:{part.name}" for one in built(name) for part in one.modules() if isinstance(part, Part)}
    assert set(registry.get("system", name).parts) <= used


@pytest.mark.parametrize("name", NAMES)
def test_its_idea_is_among_its_parts(name: str) -> None:
    system: System = registry.get("system", name)
    kinds = {part.partition(":")[0] for part in system.parts}
    assert system.novelty in {*kinds, "training", "statistics"} or name == "chain_of_experts"


def test_no_number_is_taken_twice() -> None:
    numbers = [registry.get("system", name).number for name in NAMES]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("system", BASICS, ids=lambda system: system.name)
def test_basics_build(system: System) -> None:
    assert isinstance(system.build()["layer"], RoutedLayer)
    assert system.name not in registry.names("system")
