from __future__ import annotations

import json
from codecs import BOM_UTF8
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from turnout.errors import LogError
from turnout.outcomes import OutcomeLog

texts = st.text(st.characters(codec="utf-8"), max_size=30)
amounts = st.none() | st.floats(0, 1e6, allow_subnormal=False)
optional = {
    "cost": (pl.Float64, amounts),
    "prompt_tokens": (pl.Int64, st.none() | st.integers(0, 10**9)),
    "completion_tokens": (pl.Int64, st.none() | st.integers(0, 10**9)),
    "latency": (pl.Float64, amounts),
    "energy": (pl.Float64, amounts),
    "response": (pl.String, st.none() | texts),
    "propensity": (pl.Float64, st.none() | st.floats(0, 1, exclude_min=True, allow_subnormal=False)),
}


@st.composite
def logs(draw: st.DrawFn) -> OutcomeLog:
    """Any valid log in which every query has an outcome."""
    ids = draw(
        st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=1, max_size=6, unique=True)
    )
    experts = draw(st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True))
    cells = [(q, e) for q in ids for e in experts if draw(st.booleans())] or [(ids[0], experts[0])]
    seen = {query for query, _ in cells}
    ids = [query for query in ids if query in seen]

    def column(values: st.SearchStrategy[object], rows: int) -> list[object]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    outcomes = {
        "query_id": pl.Series([q for q, _ in cells], dtype=pl.String),
        "expert": pl.Series([e for _, e in cells], dtype=pl.String),
        "score": pl.Series(column(st.floats(0, 1), len(cells)), dtype=pl.Float64),
    }
    for name in draw(st.sets(st.sampled_from(sorted(optional)))):
        dtype, values = optional[name]
        outcomes[name] = pl.Series(column(values, len(cells)), dtype=dtype)
    queries = {"query_id": pl.Series(ids, dtype=pl.String)}
    words = {"prompt": texts, "task": texts, "target": texts.map("={}".format)}  # in CSV, "1" of one's own is a number
    for name in draw(st.sets(st.sampled_from(sorted(words)))):
        queries[name] = pl.Series(column(st.none() | words[name], len(ids)), dtype=pl.String)
    if draw(st.booleans()):
        numbers = st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=2)
        queries["signal.embedding"] = pl.Series(column(st.none() | numbers, len(ids)), dtype=pl.List(pl.Float32))
    return OutcomeLog(pl.DataFrame(queries), pl.DataFrame(outcomes))


@pytest.mark.parametrize("name", ["folder", "log.parquet", "log.jsonl", "log.csv"])
@given(log=logs())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(name: str, log: OutcomeLog, tmp_path: Path) -> None:
    log.write(tmp_path / name)
    back = OutcomeLog.read(tmp_path / name)
    assert back.query_ids == log.query_ids
    assert set(back.experts) == set(log.experts)
    assert_frame_equal(back.queries, log.queries, check_column_order=False)
    assert_frame_equal(back.outcomes, log.outcomes, check_column_order=False, check_row_order=False)
    assert back.fingerprint() == log.fingerprint()


@pytest.mark.parametrize("name", ["folder", "log.parquet", "log.jsonl", "log.csv"])
def test_a_name_is_no_pattern(name: str, tmp_path: Path) -> None:
    path = tmp_path / "runs [seed=*]" / name
    OutcomeLog.from_arrays(["a", "b"], ["x"], [[1], [0]]).write(path)
    assert len(OutcomeLog.read(path)) == 2


def test_a_full_log_keeps_its_order(tmp_path: Path) -> None:
    log = OutcomeLog.from_arrays(["b", "a", "c"], ["z", "a"], [[1, 0], [0.25, 1], [0, 0]], tasks=["t", None, "u"])
    for name in ("folder", "log.parquet", "log.jsonl", "log.csv"):
        log.write(tmp_path / name)
        back = OutcomeLog.read(tmp_path / name)
        assert back.experts == ("z", "a")
        assert back.texts == ["b", "a", "c"]
        assert back.tasks == ["t", "", "u"]
        assert (back.matrix() == log.matrix()).all()


def test_a_folder_with_one_long_table(tmp_path: Path) -> None:
    OutcomeLog.from_arrays(["hello"], ["a", "b"], [[1, 0]]).write(tmp_path / "log.parquet")
    (tmp_path / "folder").mkdir()
    (tmp_path / "log.parquet").rename(tmp_path / "folder" / "outcomes.parquet")
    assert OutcomeLog.read(tmp_path / "folder").texts == ["hello"]


def test_a_single_file_cannot_keep_queries_without_an_outcome(tmp_path: Path) -> None:
    log = OutcomeLog(
        pl.DataFrame({"query_id": ["q", "r"]}), pl.DataFrame({"query_id": "q", "expert": "a", "score": 1.0})
    )
    log.write(tmp_path / "folder")
    log.write(tmp_path / "log.csv")
    assert len(OutcomeLog.read(tmp_path / "folder")) == 2
    assert len(OutcomeLog.read(tmp_path / "log.csv")) == 1


def test_csv_keeps_ids_and_texts_that_look_like_numbers(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("query_id,expert,score,prompt,seed,code\n007,1,1,3.0,12,0x1\n008,1,0.5,,7,01\n")
    log = OutcomeLog.read(path)
    assert log.query_ids == ["007", "008"]
    assert log.texts == ["3.0", ""]
    assert log.outcomes["seed"].to_list() == [12, 7]
    assert log.outcomes["code"].to_list() == ["0x1", "01"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", "query_id,expert,score\r\nq,a,1\r\nr,a,0.5\r\n"),
        (
            "log.jsonl",
            "".join(f'{{"query_id": "{q}", "expert": "a", "score": {s}}}\r\n' for q, s in (("q", 1), ("r", 0.5))),
        ),
    ],
)
def test_files_of_windows_are_read(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(BOM_UTF8 + content.encode())
    assert OutcomeLog.read(tmp_path / name).outcomes["score"].to_list() == [1.0, 0.5]
    (tmp_path / name).write_bytes(BOM_UTF8 + content.replace("1", "NaN!").encode())
    with pytest.raises(LogError, match="NaN"):
        OutcomeLog.read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "log.csv",
            "query_id,expert,score\nq,a,1\nq,b,good\n",
            r"row 2.*'score' must be a number in \[0, 1\], got 'good'",
        ),
        (
            "log.csv",
            "query_id,expert,score\nq,a,1\nq,b,\n",
            r"row 2 \(query_id 'q', expert 'b'\): column 'score'.*nothing",
        ),
        ("log.csv", "query_id,model,score\nq,a,1\n", "'expert' is missing; is it 'model'"),
        ("log.csv", "query_id,expert,scor\nq,a,1\n", "'score' is missing; did you mean 'scor'"),
        ("log.csv", "query_id,expert,score\n", "holds no outcomes"),
        ("log.csv", "", "not a readable CSV"),
        ("log.csv", "query_id,expert,score\nq,a,1\nq,a,1,2,3\n", "not a readable CSV"),
        ("log.jsonl", '{"query_id": "q", "expert": "a", "score": 1}\n{"query_id": \n', "line 2 is not JSON"),
        ("log.jsonl", '{"query_id": "q", "expert": "a", "score": 1}\n[1]\n', "line 2 is not a JSON object"),
        ("log.jsonl", '{"query_id": "q", "expert": "a", "score": NaN}\n', "line 1 is not JSON: NaN is no JSON number"),
        ("log.jsonl", '{"query_id": "q", "expert": "a", "score": "x"}\n', "row 1.*'score'.*got 'x'"),
        ("log.jsonl", "", "(missing|empty|no outcomes)"),
        ("log.parquet", "PAR1 but not really", "not a readable Parquet"),
        ("log.xlsx", "", "ending in .parquet, .jsonl, .csv, got '.xlsx'"),
    ],
)
def test_bad_files_are_named(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(LogError, match=said) as caught:
        OutcomeLog.read(tmp_path / name)
    assert name in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no such file or folder"):
        OutcomeLog.read(tmp_path / "nowhere")
    (tmp_path / "other.parquet").touch()
    with pytest.raises(LogError, match=r"needs outcomes\.parquet .*it holds other\.parquet"):
        OutcomeLog.read(tmp_path)


@given(
    content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode),
    suffix=st.sampled_from(["csv", "jsonl", "parquet"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_log_or_a_log_error(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"log.{suffix}"
    path.write_bytes(content)
    with pytest.raises(LogError):
        OutcomeLog.read(path)


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)
names = ["query_id", "expert", "score", "cost", "prompt", "task", "propensity", "prompt_tokens", "signal.x", "response"]


@given(rows=st.lists(st.dictionaries(st.sampled_from(names), values), max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_lines_are_a_log_or_a_log_error(rows: list[dict[str, object]], tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    error = None
    try:
        assert len(OutcomeLog.read(path)) > 0
    except LogError as raised:
        error = raised
    assert error is None or "log.jsonl" in str(error)
