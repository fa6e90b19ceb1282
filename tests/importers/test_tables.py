"""RouteLLM, RouterBench, LLMRouter, RouterDC and AlpacaEval: tables of outcomes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from turnout.errors import ConfigError, LogError, ParameterError
from turnout.importers import load
from turnout.importers.routerdc import RouterDC
from turnout.outcomes import OutcomeLog

Write = Callable[[str, Any], Path]


def row(log: OutcomeLog, query_id: str, expert: str) -> dict[str, Any]:
    """The one outcome of an expert on a query."""
    found = log.outcomes.filter((pl.col("query_id") == query_id) & (pl.col("expert") == expert)).to_dicts()
    assert len(found) == 1
    return dict(found[0])


def test_routellm_leaves_contaminated_prompts_out(write: Write, tmp_path: Path) -> None:
    write("mmlu/responses/mmlu_anatomy.csv", 'prompt,small,large\n"A, or\nB?",True,False\nWhich bone?,False,True\n')
    write("mmlu/contaminated_prompts.jsonl", [{"eval_prompt": "Which bone?", "train_prompt": "x"}])
    log, report = load(tmp_path)
    assert log.query_ids == ["mmlu/anatomy/0"]
    assert log.tasks == ["mmlu/anatomy"]
    assert log.texts == ["A, or\nB?"]
    assert report.dropped == {"contaminated, says the source": 2}
    log, report = load(tmp_path, options={"contaminated": "keep"})
    assert row(log, "mmlu/anatomy/1", "large")["score"] == 1.0
    assert (report.read, report.kept, report.dropped) == (4, 4, {})


def test_routellm_names_the_row_and_column_at_fault(write: Write) -> None:
    file = write("gsm8k_responses.csv", "prompt,small,large\nOne?,True,False\nTwo?,True,maybe\n")
    with pytest.raises(LogError, match=r"row 2: column 'large': the score must be a number, got 'maybe'"):
        load(file, format="routellm")
    file = write("gsm8k_responses.csv", "prompt,small,large\nOne?,True\n")
    with pytest.raises(LogError, match="row 1 has 2 fields, the header 3"):
        load(file, format="routellm")


def test_routerbench_keeps_the_first_score_of_a_sample_that_stands_there_twice(write: Write) -> None:
    head = "sample_id,prompt,eval_name,a,b,a|total_cost,b|total_cost,oracle_model_to_route_to\n"
    file = write("x.csv", head + "s1,\"['One?']\",arc,,1.0,0.1,0.2,b\ns1,One?,arc,0.5,0.0,0.1,0.2,a\n")
    log, report = load(file)
    assert row(log, "s1", "a")["score"] == 0.5
    assert row(log, "s1", "b") == {"query_id": "s1", "expert": "b", "score": 1.0, "cost": 0.2}
    assert report.dropped == {"no score": 1, "a second row of a sample": 1}
    assert log.texts == ["One?"]


def test_routerbench_reads_parquet_with_missing_scores(tmp_path: Path) -> None:
    columns = {"sample_id": ["s", "t"], "prompt": ["a", "b"], "eval_name": ["e", "e"]}
    frame = pl.DataFrame(
        {**columns, "m": [float("nan"), 1.0], "n": [0.0, 1.0], "m|total_cost": 0.1, "n|total_cost": 0.2}
    )
    frame.write_parquet(tmp_path / "rb.parquet")
    log, report = load(tmp_path / "rb.parquet")
    assert report.dropped == {"no score": 1}
    assert log.outcomes.height == 3


def test_llmrouter_keeps_repeats_and_drops_what_failed(write: Write) -> None:
    base = {"task_name": "t", "query": "q?", "model_name": "m", "response": "x", "prompt_tokens": 10}
    rows = [{**base, "performance": 1.0, "completion_tokens": 4}, {**base, "performance": 0.0, "completion_tokens": 6}]
    rows += [{**base, "model_name": "n", "performance": 0.0, "response": "ERROR: down"}]
    rows += [{**base, "model_name": "n", "performance": 1, "completion_tokens": -3, "response": "ERROR: it says"}]
    rows += [{**base, "model_name": "n", "performance": 1, "response": "API Error: timed out"}]  # "A" was the answer
    log, report = load(write("routing.jsonl", rows))
    assert row(log, log.query_ids[0], "m")["repeats"] == [1.0, 0.0]
    assert row(log, log.query_ids[0], "m")["completion_tokens"] == 5
    assert row(log, log.query_ids[0], "n")["completion_tokens"] is None
    assert report.dropped == {"the expert did not answer": 2}
    assert (report.repeated, report.ignored) == (1, {"completion_tokens": 1})


def test_half_characters_in_names_do_no_harm(write: Write) -> None:
    row = {"task_name": "t\ud800", "query": "q\udfff", "model_name": "m\ud800", "performance": 1}
    log, _ = load(write("r.jsonl", [row]))
    assert (log.tasks, log.texts, log.experts) == (["t�"], ["q�"], ("m�",))
    entry = {"instruction": "i", "output_2": "o", "generator_2": "m", "annotator": "j\ud800", "preference": 1}
    _, report = load(write("a.json", [entry]))
    assert report.notes == ("judged by j� against a baseline",)


def test_prices_make_costs_of_tokens(write: Write) -> None:
    base = {"query": "q?", "performance": 1, "prompt_tokens": 1_000_000, "completion_tokens": 500_000}
    file = write("r.jsonl", [{**base, "model_name": name} for name in "ab"])
    prices = write("prices.json", {"a": {"input_price": 2.0, "output_price": 4.0}})
    prices.write_bytes(b"\xef\xbb\xbf" + prices.read_bytes())  # as Windows saves it
    log, _ = load(file, options={"prices": str(prices)})
    assert row(log, log.query_ids[0], "a")["cost"] == pytest.approx(4.0)
    assert row(log, log.query_ids[0], "b")["cost"] is None
    for bad in ({"a": {"input": 1}}, {"a": {"input": -1, "output": 1}}, [1], {"a": 3}):
        with pytest.raises(ConfigError, match="`prices`"):
            load(file, options={"prices": str(write("prices.json", bad))})


def test_routerdc_names_the_missing_field_and_what_is_there(write: Write) -> None:
    file = write("t.json", [{"question": "a", "scores": {"m": 1, "n": 0}}, {"question": "b", "score": {}}])
    with pytest.raises(
        LogError, match=r"entry 2: the field 'scores' is missing; did you mean 'score'\? fields: question"
    ):
        load(file)
    file = write("t.json", [{"question": "a", "scores": {"m": None, "n": 0, "o": 0.3}}])
    log, report = load(file, format="routerdc")
    assert (log.experts, report.dropped) == (("n", "o"), {"no score": 1})


@pytest.mark.parametrize("score", ["NaN", "Infinity", "1e999", '"high"', "[1]", "{}"])
def test_a_score_that_is_no_number_is_refused(write: Write, score: str) -> None:
    file = write("t.json", '[{"question": "a", "scores": {"m": ' + score + "}}]")
    with pytest.raises(LogError, match=r"entry 1: 'm': the score must be a number, got "):
        load(file, format="routerdc")


def test_scores_beyond_one_need_a_stated_range(write: Write) -> None:
    file = write("t.json", [{"question": "a", "scores": {"m": 7, "n": 1, "o": 10}}])
    with pytest.raises(
        LogError, match=r"'m': score 7 is outside \[0, 1\]; state the source's range, as in `scale=0:100`"
    ):
        load(file)
    log, _ = load(file, options={"scale": "1:10"})
    assert log.matrix().tolist() == [[pytest.approx(6 / 9), 0.0, 1.0]]
    with pytest.raises(LogError, match=r"score 10 is outside \[1, 9\]$"):
        load(file, options={"scale": "1:9"})
    for bad in ("10", "5:1", "a:b", "0:inf", ""):
        with pytest.raises(ParameterError, match="`scale` must be LOW:HIGH"):
            load(file, options={"scale": bad})


def test_alpacaeval_reads_one_judge_and_one_baseline(write: Write, tmp_path: Path) -> None:
    def entry(model: str, preference: object, judge: str = "j", baseline: str = "base") -> dict[str, object]:
        made = {"instruction": "Write.", "output_1": "x", "generator_1": baseline, "output_2": "y", "dataset": "d"}
        return {**made, "generator_2": model, "annotator": judge, "preference": preference}

    write("m/j/annotations.json", [entry("m", 1.25)])
    write("n/j/annotations.json", [entry("n", 0), entry("n", None)])
    log, report = load(tmp_path)
    assert log.matrix().tolist() == [[0.25, 0.5]]
    assert report.dropped == {"no score": 1}
    assert report.notes == ("judged by j against base",)
    write("o/k/annotations.json", [entry("o", 2.0, "k")])
    with pytest.raises(LogError, match="several annotators; name one with `annotator`: j, k"):
        load(tmp_path)
    log, report = load(tmp_path, options={"annotator": "k"})
    assert (log.experts, report.dropped) == (("o",), {"another annotator": 3})
    with pytest.raises(LogError, match="no annotations by 'z'"):
        load(tmp_path, options={"annotator": "z"})
    write("o/k/annotations.json", [entry("o", 2.0, "j", "other")])
    with pytest.raises(LogError, match="the baseline is 'other', before it was 'base'"):
        load(tmp_path)
    with pytest.raises(LogError, match=r"score -0\.5 is outside"):
        load(write("bad.json", [entry("m", 0.5)]))


def test_several_sources_make_one_log(write: Write) -> None:
    files = [write(f"{name}.json", [{"question": name, "scores": {"m": 1, "n": 0}}]) for name in "ab"]
    log, report = load(*files)
    assert log.query_ids == ["a/0", "b/0"]
    assert report.read == 4
    other = write("r.jsonl", [{"query": "q", "model_name": "m", "performance": 1}])
    with pytest.raises(ConfigError, match="several formats"):
        load(files[0], other)


def test_formats_and_options_are_named(write: Write, tmp_path: Path) -> None:
    file = write("notes.txt", "hello")
    with pytest.raises(ConfigError, match=r"is in no known format; name one with --format \(known: alpacaeval, helm"):
        load(file)
    with pytest.raises(LogError, match="no such file or folder"):
        load(tmp_path / "absent")
    write("t.json", [{"question": "a", "scores": {"m": 1, "n": 0}}])
    write("r.jsonl", [{"query": "q", "model_name": "m", "performance": 1}])
    with pytest.raises(ConfigError, match="could be any of llmrouter, routerdc"):
        load(tmp_path)
    assert load(tmp_path, format="routerdc")[0].experts == ("m", "n")
    with pytest.raises(ParameterError, match=r"routerdc: unknown option 'scal'; did you mean 'scale'\? allowed"):
        load(tmp_path, format="routerdc", options={"scal": "1:2"})
    with pytest.raises(LogError, match=r"no file of HELM runs in this folder; looked for scenario_state\.json"):
        load(tmp_path, format="helm")


def test_a_real_table_in_the_sources_own_form_comes_back(shared_data: Path, tmp_path: Path) -> None:
    want = OutcomeLog.read(shared_data / "seven_llm")
    part = want.queries.filter(pl.col("task").is_in(["arc_challenge_test", "humaneval_test"]))
    scores = want.outcomes.join(part, on="query_id", how="inner")
    for (task,), rows in scores.group_by("task", maintain_order=True):
        entries = [
            {"question": prompt[0], "scores": dict(zip(cells["expert"], cells["score"], strict=True))}
            for (_, *prompt), cells in rows.group_by("query_id", "prompt", maintain_order=True)
        ]
        (tmp_path / f"{task}.json").write_text(json.dumps(entries), encoding="utf-8")
    log, report = load(tmp_path)
    assert report.kept == scores.height
    both = scores.with_columns(pl.col("query_id").str.strip_prefix("seven/")).join(
        log.outcomes, on=["query_id", "expert"], suffix="_read"
    )
    assert both.height == scores.height
    assert both["score"].equals(both["score_read"])
    assert RouterDC().detect(tmp_path)
