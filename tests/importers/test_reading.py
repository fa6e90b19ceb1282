"""The parts that every importer reads with: places in messages, heads, bounded walks, texts and numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnout.errors import LogError, ParameterError
from turnout.importers import _reading
from turnout.importers._rows import Rows, as_number, clean
from turnout.importers.routerdc import RouterDC


def test_malformed_json_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('[\n {"question": "a",\n  "scores": {"m": 1,}}\n]')
    with pytest.raises(LogError, match=r"x\.json: line 3: not JSON: .*column"):
        RouterDC().read(file)
    lines = tmp_path / "x.jsonl"
    lines.write_text('{"a": 1}\n\n{"a": \n')
    with pytest.raises(LogError, match=r"x\.jsonl: line 3: not JSON"):
        list(_reading.lines(lines))
    lines.write_text("[1]\n")
    with pytest.raises(LogError, match=r"x\.jsonl: line 1: must be an object, got an array"):
        list(_reading.lines(lines))
    lines.write_bytes(b'{"a": "\xff"}\n')
    with pytest.raises(LogError, match="not UTF-8 text: invalid start byte at byte 7"):
        list(_reading.lines(lines))
    with pytest.raises(LogError, match=r"nested too deeply|too deep"):
        _reading.parse("[" * 200_000, "x")
    with pytest.raises(LogError, match="not JSON"):
        _reading.parse("1" * 5000, "x")


def test_keys_of_an_unfinished_text() -> None:
    assert _reading.keys('{"a\\"b": [1, {"c": 2}], "d": "e: {", "f') == {'a\\"b', "d"}
    assert _reading.keys(' [ {"a": 1}, {"b": 2}]') == {"a"}
    assert _reading.keys("[1, 2]") == _reading.keys("") == frozenset()


def test_csv_faults_have_their_row(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("a,a\n1,2\n")
    with pytest.raises(LogError, match="the column 'a' stands there twice"):
        list(_reading.table(file))
    file.write_text('a,b\n1,"open')
    with pytest.raises(LogError, match="not a readable CSV file"):
        list(_reading.table(file))
    file.write_text("a,b\n" + "x" * 200_000 + ",1\n\n")
    assert [row["b"] for _, row in _reading.table(file)] == ["1"]
    parquet = tmp_path / "x.parquet"
    parquet.write_bytes(b"PAR1")
    with pytest.raises(LogError, match="not a readable Parquet file"):
        list(_reading.table(parquet))


def test_walks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path.joinpath(*"abcdefghij")
    deep.mkdir(parents=True)
    (deep / "x.json").write_text("{}")
    (tmp_path / "a" / "y.JSON").write_text("{}")
    assert [file.name for file in _reading.walk(tmp_path, ("*.json",))] == ["y.JSON"]
    monkeypatch.setattr(_reading, "MOST_FILES", 0)
    with pytest.raises(LogError, match="more than 0 files; name a smaller folder"):
        list(_reading.walk(tmp_path, ("*.json",)))


def test_numbers_and_texts() -> None:
    assert [as_number(value) for value in (1, True, " 0.25 ", "False", "1e3")] == [1.0, 1.0, 0.25, 0.0, 1000.0]
    assert [as_number(value) for value in ("x", None, {}, 10**400, float("nan"), "9" * 999)] == [None] * 6
    assert clean("a\ud800b\ud83d\ude00") == "a�b😀"


def test_needed_fields_have_types() -> None:
    with pytest.raises(LogError, match="w: the field 'a' must be a text or a whole number, got null"):
        _reading.need({"a": None}, "a", "w", str, int)
    with pytest.raises(LogError, match="must be a whole number, got a truth"):
        _reading.need({"a": True}, "a", "w", int)
    with pytest.raises(LogError, match="fields: none"):
        _reading.need({}, "a", "w")


def test_rounding_at_the_ends_of_the_range_is_forgiven() -> None:
    rows = Rows("x")
    rows.add("w", query_id="q", expert="e", score=1.0000004)
    rows.add("w", query_id="q", expert="f", score=-0.0000004)
    log, _ = rows.finish("x", "")
    assert log.matrix().tolist() == [[1.0, 0.0]]


def test_an_expert_must_be_named() -> None:
    for expert in (None, "", "  ", 3):
        with pytest.raises(LogError, match="w: the expert must be a name, got"):
            Rows("x").add("w", query_id="q", expert=expert, score=1)


def test_texts_that_differ_within_a_query_are_told() -> None:
    rows = Rows("x")
    rows.add("w", query_id="q", expert="e", score=1, prompt=None)
    rows.add("w", query_id="q", expert="f", score=1, prompt="one")
    rows.add("w", query_id="q", expert="g", score=1, prompt="two")
    log, report = rows.finish("x", "")
    assert log.texts == ["one"]
    assert report.notes == ("prompts differ between rows of one query; the first is kept",)


def test_unreadable_files_are_log_errors(tmp_path: Path) -> None:
    folder = tmp_path / "x.json"
    folder.mkdir()
    with pytest.raises(LogError, match="no file of RouterDC tables"):
        RouterDC().read(folder)
    with pytest.raises(ParameterError, match="`scale` must be"):
        RouterDC(scale="x").read(folder)
