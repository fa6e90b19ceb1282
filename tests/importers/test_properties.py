"""Whatever stands in a file, an importer gives a log, a LogError or a ConfigError, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnout import registry
from turnout.errors import ConfigError, LogError
from turnout.importers import load

NAMES = registry.names("importer")
ODD: list[Any] = [None, True, -1, 0.5, 7, 1e308, 10**400, float("nan"), float("-inf"), "", " ", "x", "C", "1", "nan"]
ODD += [
    "\ud800",
    "\0",
    "a" * 3000,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"value": []}},
    [{"role": 3}],
    "attachment://x",
]
DELETE = object()

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key in a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def mutate(value: Any, draw: Callable[[int], int]) -> Any:
    """The value with one part replaced by something odd, or gone."""
    found = list(places(value))
    if not found:
        return ODD[draw(len(ODD))]
    container, key = found[draw(len(found))]
    with_odd = [*ODD, DELETE]
    odd = with_odd[draw(len(with_odd))]
    if odd is DELETE:
        del container[key]
    else:
        container[key] = odd
    return value


def mutate_file(file: Path, draw: Callable[[int], int]) -> None:
    """Change one value of a JSON, JSON lines, CSV or zip file, keeping it well formed."""
    if file.suffix == ".eval":
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = list(members)[draw(len(members))]
        members[name] = json.dumps(mutate(json.loads(members[name]), draw)).encode()
        with zipfile.ZipFile(file, "w") as archive:
            for each, content in members.items():
                archive.writestr(each, content)
    elif file.suffix == ".csv":
        rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"))))
        row = rows[draw(len(rows))]
        row[draw(len(row))] = str(ODD[draw(len(ODD))]).replace("\0", "").replace("\ud800", "")
        with file.open("w", encoding="utf-8", newline="") as handle:
            csv.writer(handle).writerows(rows)
    elif file.suffix == ".jsonl":
        lines = file.read_text(encoding="utf-8").splitlines()
        at = draw(len(lines))
        lines[at] = json.dumps(mutate(json.loads(lines[at]), draw))
        file.write_text("\n".join(lines), encoding="utf-8")
    else:
        file.write_text(json.dumps(mutate(json.loads(file.read_text(encoding="utf-8")), draw)), encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
@SLOW
@given(data=st.data())
def test_odd_values_in_a_sample(name: str, data: st.DataObject) -> None:
    made = registry.get("importer", name)()
    with TemporaryDirectory() as folder:
        sample = made.write_sample(Path(folder))
        files = sorted(file for file in Path(folder).rglob("*") if file.is_file())
        for _ in range(data.draw(st.integers(1, 3))):
            mutate_file(data.draw(st.sampled_from(files)), lambda n: data.draw(st.integers(0, n - 1)))
        made.detect(sample)
        try:
            log, report = load(sample, format=name)
        except (LogError, ConfigError):
            return
        assert report.read == report.kept + sum(report.dropped.values())
        scores_NE = log.matrix()
        assert np.nanmin(scores_NE) >= 0
        assert np.nanmax(scores_NE) <= 1


@pytest.mark.parametrize("name", NAMES)
@SLOW
@given(
    content=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
)
def test_any_bytes(name: str, content: bytes) -> None:
    made = registry.get("importer", name)()
    with TemporaryDirectory() as folder:
        file = Path(folder) / made.patterns[0].replace("*", "x")
        file.write_bytes(content)
        assert not made.detect(file)
        with pytest.raises((LogError, ConfigError)):
            made.read(file)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize("name", NAMES)
@SLOW
@given(value=JSON)
def test_any_json(name: str, value: Any) -> None:
    made = registry.get("importer", name)()
    with TemporaryDirectory() as folder:
        for pattern in made.patterns:
            file = Path(folder) / pattern.replace("*", "x")
            file.write_text(json.dumps(value), encoding="utf-8")
            made.detect(file)
            with pytest.raises((LogError, ConfigError)):
                made.read(file)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("depth", [950, 20_000])
def test_deep_values_at_every_place(name: str, depth: int, tmp_path: Path) -> None:
    made = registry.get("importer", name)()
    sample = made.write_sample(tmp_path)
    mark, deep = json.dumps("the mark"), "[" * depth + "]" * depth
    for file in sorted(file for file in tmp_path.rglob("*.json*") if file.is_file()):
        whole = file.read_text(encoding="utf-8")
        lines = file.suffix == ".jsonl"
        for place in range(len(list(places(json.loads(whole.splitlines()[0] if lines else whole))))):
            value = json.loads(whole.splitlines()[0] if lines else whole)
            container, key = list(places(value))[place]
            container[key] = "the mark"
            changed = json.dumps(value).replace(mark, deep)
            file.write_text("\n".join([changed, *whole.splitlines()[1:]]) if lines else changed, encoding="utf-8")
            with suppress(LogError, ConfigError):
                made.read(sample)
        file.write_text(whole, encoding="utf-8")
