"""A router on disk: bit-equal after the round trip, and every kind of damage told apart."""

from __future__ import annotations

import json
import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from turnout import registry
from turnout.errors import StateError
from turnout.routers import Router, saving
from turnout.types import Arm, How, Limits, Price, Request


def estimators():
    made = registry.create
    members = (made("estimator", "ridge", on=("tfidf", "length")), made("estimator", "prototype", signal="format"))
    return {
        "ridge": made("estimator", "ridge", on=("format",)),
        "average": made("estimator", "average", members=members),
        "knn": made("estimator", "knn", signal="format"),
        "constant": made("estimator", "constant"),
    }


@pytest.mark.parametrize("name", list(estimators()))
@pytest.mark.parametrize("policy", registry.names("policy"))
def test_decisions_are_bit_equal_after_a_round_trip(make_log, make_router, tmp_path, name, policy):
    log = make_log(120)
    router = make_router(log, estimator=estimators()[name], policy=registry.create("policy", policy), guard=False)
    router.save(tmp_path / "router")
    again = Router.load(tmp_path / "router")
    for before, after in zip(router.predict(log), again.predict(log), strict=True):
        assert np.array_equal(before, after)
    requests = [Request(text) for text in make_log(20, seed=9).texts]
    assert [_key(d) for d in router.decide(requests, explore=0.2)] == [
        _key(d) for d in again.decide(requests, explore=0.2)
    ]
    assert [_key(router.bind(router.arms).decide(r, seed=1)) for r in requests] == [
        _key(again.bind(again.arms).decide(r, seed=1)) for r in requests
    ]
    assert (again.guard, again.arms, again.summary) == (router.guard, router.arms, router.summary)
    assert again.explain("What is 12 + 4?") == router.explain("What is 12 + 4?")


def _key(decision):
    return decision.plan, decision.reason, decision.quality, decision.se, decision.cost, decision.objective


def test_everything_said_of_an_arm_survives(make_log, make_router, tmp_path):
    arm = Arm(
        "small",
        card="A card – with signs",
        price=Price(1.5, 2.5, nominal=True),
        limits=Limits(100, frozenset({"tools"})),
        tags=frozenset({"b", "a"}),
        model="m",
        how=How("steps", "Think.", {"temperature": 0.0, "stop": ["a", "b"]}),
    )
    make_router(make_log(60), arms=[arm]).save(tmp_path / "r")
    assert Router.load(tmp_path / "r").arms[0] == arm


def test_saving_twice_gives_the_same_bytes_and_replaces(router, tmp_path):
    folder = tmp_path / "deep" / "router"
    router.save(folder)
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    router.save(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == first
    assert [file.name for file in folder.parent.iterdir()] == ["router"]


def test_other_folders_are_not_overwritten(router, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StateError, match="no saved router"):
        router.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_missing_router(tmp_path):
    with pytest.raises(StateError, match=r"router\.json is missing"):
        Router.load(tmp_path)


def test_a_newer_format_is_refused(router, tmp_path):
    router.save(tmp_path / "r")
    _edit(tmp_path / "r", lambda document: document.update(format=saving.FORMAT + 1))
    with pytest.raises(StateError, match=f"has format {saving.FORMAT + 1}.*upgrade turnout"):
        Router.load(tmp_path / "r")


@pytest.mark.parametrize("broken", [None, "1", 0, True])
def test_a_format_that_is_no_version(router, tmp_path, broken):
    router.save(tmp_path / "r")
    _edit(tmp_path / "r", lambda document: document.update(format=broken))
    if broken is True:
        return  # True is 1 in Python, and the body is whole
    with pytest.raises(StateError, match="must be a version number"):
        Router.load(tmp_path / "r")


def test_edits_of_the_document_are_noticed(router, tmp_path):
    router.save(tmp_path / "r")
    _edit(tmp_path / "r", lambda document: document["router"]["guard"].update(passed=True, low=1.0))
    with pytest.raises(StateError, match="checksum"):
        Router.load(tmp_path / "r")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["router.json", "arrays.npz"]), place=st.floats(0, 1), cut=st.booleans())
def test_any_damaged_byte_is_noticed(router, tmp_path, name, place, cut):
    folder = tmp_path / "r"
    router.save(folder)
    content = (folder / name).read_bytes()
    at = min(int(place * len(content)), len(content) - 1)
    damaged = content[:at] if cut else content[:at] + bytes([content[at] ^ 0x01]) + content[at + 1 :]
    (folder / name).write_bytes(damaged)
    if name == "router.json" and _means_the_same(content, damaged):
        return
    with pytest.raises(StateError, match=r"router\.json|arrays\.npz"):
        Router.load(folder)


def _means_the_same(content, damaged):
    """Only the version that wrote it, and white space, are outside the checksums."""
    try:
        before, after = json.loads(content), json.loads(damaged)
    except ValueError:
        return False
    return {**before, "turnout": ""} == {**after, "turnout": ""}


def _edit(folder, change):
    file = folder / "router.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def test_loading_and_deciding_import_nothing_heavy(make_log, make_router, tmp_path):
    """In a fresh process, with every kind of estimator and signal in one router."""
    members = tuple(
        registry.create("estimator", name) for name in ("prototype", "knn", "length", "logistic", "task_table")
    )
    ridge = registry.create("estimator", "ridge", on=("embedding", "format", "tfidf", "language"))
    estimator = registry.create("estimator", "average", members=(*members, ridge))
    make_router(make_log(80), estimator=estimator, examples=5).save(tmp_path / "r")
    code = (
        "import sys; from turnout import Request, Router; "
        f"router = Router.load({str(tmp_path / 'r')!r}); router.bind(router.arms).decide(Request('2 + 2'), seed=0); "
        "router.explain('2 + 2'); "
        "print([n for n in ('sklearn', 'scipy', 'polars', 'torch', 'aiohttp', 'pandas') if n in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
