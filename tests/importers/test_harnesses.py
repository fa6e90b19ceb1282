"""lm-evaluation-harness, Inspect and HELM: logs of evaluations."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from turnout.errors import LogError
from turnout.importers import _reading, load
from turnout.importers.helm import HELM
from turnout.importers.inspect import Inspect
from turnout.importers.lm_eval import LMEval
from turnout.outcomes import luck

Write = Callable[[str, Any], Path]
TIME = "2024-05-20T10-11-12.345678"


def sample(doc: int = 0, **changes: Any) -> dict[str, Any]:
    """A line of the harness."""
    made = {"doc_id": doc, "doc": {"question": f"q{doc}?"}, "target": "4", "filter": "none", "metrics": ["acc"]}
    made |= {"arguments": {"gen_args_0": {"arg_0": f"Q: q{doc}?\nA:", "arg_1": " 4"}}, "resps": [[[-1.0, True]]]}
    return {**made, "doc_hash": f"h{doc}", "acc": 1.0, **changes}


def test_lm_eval_names_models_by_results_folder_or_option(write: Write) -> None:
    write(f"org__m/samples_arc_{TIME}.jsonl", [sample()])
    by_results = write(f"x/samples_arc_{TIME}.jsonl", [sample()])
    write(f"x/results_{TIME}.json", {"results": {}, "configs": {}, "model_name": "org/n"})
    log, _ = load(by_results.parent.parent)
    assert set(log.experts) == {"org/m", "org/n"}
    assert (log.query_ids, log.tasks, log.texts) == (["arc/0"], ["arc"], ["Q: q0?\nA:"])
    lone = write(f"y/samples_arc_{TIME}.jsonl", [sample()])
    with pytest.raises(LogError, match="name it with `expert`"):
        load(lone)
    assert load(lone, options={"expert": "me", "prompt": "doc"})[0].texts == ["q0?"]


def test_lm_eval_reruns_are_repeats(write: Write) -> None:
    for time, acc in ((TIME, 1), (TIME.replace("2024", "2025"), 0)):
        write(f"org__m/samples_arc_{time}.jsonl", [sample(acc=acc)])
    folder = write(f"org__n/samples_arc_{TIME}.jsonl", [sample()]).parent.parent
    log, report = load(folder)
    assert report.repeated == 1
    assert log.outcomes.filter(log.outcomes["expert"] == "org/m")["repeats"].to_list() == [[1.0, 0.0]]


def test_lm_eval_chooses_metric_and_filter_and_says_so(write: Write) -> None:
    both = {"metrics": ["brier", "acc_norm"], "brier": 0.5, "acc_norm": 1.0}
    rows = [sample(filter=name, **both) for name in ("strict", "flexible")]
    file = write(f"org__m/samples_a_{TIME}.jsonl", rows)
    with pytest.raises(LogError, match="several metrics for 'a'; name one with `metric`: brier, acc_norm"):
        load(file)
    with pytest.raises(LogError, match="no metric 'acc' for 'a'"):
        load(file, options={"metric": "acc"})
    log, report = load(file, options={"metric": "acc, acc_norm", "filter": "flexible"})
    assert report.dropped == {"another filter": 1}
    assert report.notes == ("a: metric acc_norm, filter flexible",)
    assert log.matrix().tolist() == [[1.0]]


def test_lm_eval_refuses_what_is_better_when_lower_or_no_number(write: Write) -> None:
    file = write(f"m/samples_w_{TIME}.jsonl", [sample(metrics=["word_perplexity"], word_perplexity=[1.0, 2])])
    results = {"results": {}, "configs": {}, "model_name": "m", "n-shot": {"w": 5}}
    write(f"m/results_{TIME}.json", {**results, "higher_is_better": {"w": {"word_perplexity": False}}})
    with pytest.raises(LogError, match="better when lower"):
        load(file)
    write(f"m/results_{TIME}.json", results)
    with pytest.raises(LogError, match="no number per sample"):
        load(file)
    file = write(f"m/samples_w_{TIME}.jsonl", [sample(), {"doc_id": 1, "doc": {}}])
    with pytest.raises(LogError, match=r"line 2: the field 'acc' is missing; fields: doc_id, doc"):
        load(file)
    _, report = load(write(f"m/samples_w_{TIME}.jsonl", [sample()]))
    assert "5 examples in every prompt" in report.notes[0]


def test_lm_eval_refuses_another_document_under_the_same_number(write: Write) -> None:
    write(f"a__m/samples_t_{TIME}.jsonl", [sample()])
    folder = write(f"a__n/samples_t_{TIME}.jsonl", [sample(doc_hash="other")]).parent.parent
    with pytest.raises(LogError, match=r"document 0 of 't' is another one"):
        load(folder)


def test_lm_eval_compares_documents_that_both_have_a_hash(write: Write) -> None:
    write(f"a__m/samples_t_{TIME}.jsonl", [sample(doc_hash=None)])
    folder = write(f"a__n/samples_t_{TIME}.jsonl", [sample()]).parent.parent
    assert load(folder)[0].matrix().tolist() == [[1.0, 1.0]]


def test_lm_eval_takes_no_log_likelihood_for_an_answer(write: Write) -> None:
    likely = {
        "resps": [[["-1.25", "False"]], [["-0.5", "True"]]],
        "filtered_resps": [["-1.25", "False"], ["-0.5", "True"]],
    }
    log, _ = load(write(f"a__m/samples_t_{TIME}.jsonl", [sample(**likely)]))
    assert "response" not in log.outcomes.columns
    said = {"resps": [], "filtered_resps": ["4"]}
    log, _ = load(write(f"a__m/samples_t_{TIME}.jsonl", [sample(**said)]))
    assert log.outcomes["response"].to_list() == ["4"]


def test_lm_eval_reads_samples_in_results_and_refuses_totals(write: Write) -> None:
    old = sample(arguments=[["old prompt", " 4"]], resps=[["four"]])
    results = {"results": {"t": {}}, "versions": {}, "config": {"model": "hf"}}
    log, _ = load(write("results.json", {**results, "samples": {"t": [old]}}))
    assert (log.experts, log.texts, log.outcomes["response"].to_list()) == (("hf",), ["old prompt"], ["four"])
    with pytest.raises(LogError, match="holds totals only; run the harness with --log_samples"):
        load(write("results.json", results))


def test_lm_eval_reads_the_last_turn_of_a_chat(write: Write) -> None:
    chat = json.dumps([{"role": "user", "content": "example"}, {"role": "user", "content": "q0?"}])
    arguments = [{"gen_args_0": {"arg_0": context}} for context in ([chat], chat, '[{"not a chat', "[]")]
    rows = [sample(n, arguments=each) for n, each in enumerate(arguments)]
    log, _ = load(write(f"org__m/samples_t_{TIME}.jsonl", rows))
    assert log.texts == ["q0?", "q0?", '[{"not a chat', "[]"]


def test_lm_eval_lists_choices_with_the_question() -> None:
    from turnout.importers.lm_eval import _question

    doc = {"question": "Which?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}}
    assert _question({"doc": doc}) == "Which?\nA. x\nB. y"
    assert _question({"doc": "none"}) is None


def inspect_log(**changes: Any) -> dict[str, Any]:
    """A log with one sample; the changes are the sample's."""
    base = {"id": 1, "epoch": 1, "input": "two?", "target": ["4", "four"], "scores": {"match": {"value": "C"}}}
    return {"version": 2, "status": "success", "eval": {"task": "t", "model": "m"}, "samples": [{**base, **changes}]}


@pytest.mark.parametrize(
    ("value", "score"),
    [
        ("C", 1.0),
        ("I", 0.0),
        ("P", 0.5),
        ("N", 0.0),
        ("yes", 1.0),
        ("No", 0.0),
        (True, 1.0),
        (0.25, 0.25),
        ("0.75", 0.75),
    ],
)
def test_inspect_values_are_scores(write: Write, value: object, score: float) -> None:
    log, _ = load(write("log.json", inspect_log(scores={"match": {"value": value}})))
    assert log.matrix().tolist() == [[score]]
    assert log.queries["target"].to_list() == ["4\nfour"]


def test_inspect_bad_values_are_named(write: Write) -> None:
    for value in ("good", [1], None):
        file = write("log.json", inspect_log(scores={"match": {"value": value}}))
        if value is None:
            with pytest.raises(LogError, match=r"no outcomes for a log; rows read: 1 .1 × not scored"):
                load(file)
        else:
            with pytest.raises(LogError, match="samples: entry 1: the score must be a number"):
                load(file)
    with pytest.raises(LogError, match=r"score 7 is outside \[0, 1\]"):
        load(write("log.json", inspect_log(scores={"match": {"value": 7}})))


def test_inspect_scorers_are_named(write: Write) -> None:
    scores = {"match": {"value": "C"}, "rubric": {"value": {"depth": 0.25, "style": 1}}}
    file = write("log.json", inspect_log(scores=scores))
    with pytest.raises(LogError, match="several scorers; name one with `scorer`: match, rubric"):
        load(file)
    with pytest.raises(LogError, match=r"'rubric' gives depth, style; name one with `scorer=rubric.KEY`"):
        load(file, options={"scorer": "rubric"})
    assert load(file, options={"scorer": "rubric.depth"})[0].matrix().tolist() == [[0.25]]
    with pytest.raises(LogError, match="no scorer 'x'; there are match, rubric"):
        load(file, options={"scorer": "x"})


def test_inspect_drops_what_failed_or_was_not_scored(write: Write) -> None:
    log = inspect_log()
    good = log["samples"][0]
    log["samples"] += [{**good, "id": 2, "error": {"message": "boom"}}, {**good, "id": 3, "scores": None}]
    log["samples"] += [{**good, "id": 5, "invalidation": {"author": "me"}}]
    text = json.dumps({**log, "samples": [*log["samples"], {**good, "id": 4, "scores": {"match": {"value": 0}}}]})
    file = write("log.json", text.replace('"value": 0', '"value": NaN'))
    _, report = load(file)
    assert report.dropped == {"the sample ended in an error": 1, "not scored": 2, "the sample was invalidated": 1}
    log, report = load(file, options={"failed": "zero"})
    assert log.matrix().tolist() == [[1.0], [0.0]]


def test_inspect_texts_choices_and_usage(write: Write) -> None:
    changes = {"input": [{"role": "user", "content": "attachment://abc"}], "attachments": {"abc": "Which?"}}
    changes |= {"choices": ["x", "y"], "model_usage": {"judge": {"input_tokens": 999}, "m": {"input_tokens": 5}}}
    changes["model_usage"]["m"] |= {"input_tokens_cache_read": 7, "output_tokens": 2, "total_cost": 0.5}
    log, _ = load(write("log.json", inspect_log(**changes, working_time=1.5, total_time=9.0)))
    assert log.texts == ["Which?\nA) x\nB) y"]
    outcome = log.outcomes.to_dicts()[0]
    assert (outcome["prompt_tokens"], outcome["completion_tokens"], outcome["cost"]) == (12, 2, 0.5)
    assert outcome["latency"] == 1.5


def test_inspect_epochs_are_repeats_that_luck_can_use(tmp_path: Path) -> None:
    folder = Inspect().write_sample(tmp_path)
    small = json.loads((folder / "small.json").read_text())
    again = [{**each, "epoch": 2} for each in small["samples"]]
    (folder / "small.json").write_text(json.dumps({**small, "samples": [*small["samples"], *again]}))
    log, report = load(folder)
    assert report.repeated == 4
    found = luck(log)
    assert found is not None
    assert (found["queries"], found["runs"]) == (2, 2.0)


def test_inspect_samples_that_a_retry_took_over_are_counted_once(write: Write) -> None:
    log = inspect_log(uuid="u1")
    write("logs/first.json", {**log, "eval": {**log["eval"], "run_id": "r1", "eval_id": "e1"}})
    log["samples"].append({**log["samples"][0], "id": 2, "uuid": "u2"})
    folder = write("logs/retry.json", {**log, "eval": {**log["eval"], "run_id": "r2", "eval_id": "e2"}}).parent
    _, report = load(folder)
    assert (report.outcomes, report.repeated, report.dropped) == (2, 0, {"repeats an earlier row": 1})


def test_inspect_evaluations_of_one_run_are_repeats(write: Write) -> None:
    for name, value in (("e1", "C"), ("e2", "I")):
        log = inspect_log(scores={"match": {"value": value}})
        file = write(f"logs/{name}.json", {**log, "eval": {**log["eval"], "run_id": "r", "eval_id": name}})
    log, _ = load(file.parent)
    assert log.outcomes["repeats"].to_list() == [[1.0, 0.0]]


def test_inspect_refuses_another_sample_under_the_same_number(write: Write) -> None:
    write("logs/a.json", inspect_log())
    file = write("logs/b.json", inspect_log(input="three?"))
    assert load(file.parent)[1].notes == ("prompts differ between rows of one query; the first is kept",)
    write("logs/b.json", inspect_log(input="three?", target="3"))
    with pytest.raises(LogError, match="entry 1: sample 1 of 't' is another one than in an earlier log"):
        load(file.parent)


def test_inspect_old_archives_and_broken_ones(tmp_path: Path) -> None:
    log = inspect_log()
    file = tmp_path / "old.eval"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("start.json", json.dumps({"eval": log["eval"]}))
        archive.writestr("samples/1_epoch_1.json", json.dumps(log["samples"][0]))
    assert load(file)[0].experts == ("m",)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("start.json", json.dumps({"eval": log["eval"]}))
    with pytest.raises(LogError, match="the log has no samples; run inspect with --log-samples"):
        load(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("samples/1_epoch_1.json", "{}")
    with pytest.raises(LogError, match=r"no Inspect log: one of header\.json"):
        load(file, format="inspect")


def test_an_archive_unpacks_no_further_than_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bomb.eval"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": {"task": "t", "model": "m"}}))
        archive.writestr("samples/1_epoch_1.json", " " * 3_000_000)
    monkeypatch.setattr(_reading, "LARGEST_MEMBER", 1 << 20)
    with pytest.raises(LogError, match=r"samples/1_epoch_1\.json: unpacks to more than 1 MiB"):
        load(file)
    monkeypatch.setattr(_reading, "LARGEST_ARCHIVE", 1 << 20)
    with pytest.raises(LogError, match=r"unpack to 3,000,0.. bytes; at most"):
        load(file, format="inspect")
    monkeypatch.setattr(_reading, "LARGEST_ARCHIVE", 1 << 40)
    monkeypatch.setattr(_reading, "MOST_MEMBERS", 1)
    with pytest.raises(LogError, match="2 files that unpack to"):
        load(file, format="inspect")


def test_an_archive_that_lies_about_its_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "liar.eval"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": {"task": "t", "model": "m"}}))
        archive.writestr("samples/1_epoch_1.json", " " * 3_000_000)
    raw = file.read_bytes().replace(struct.pack("<I", 3_000_000), struct.pack("<I", 1_000))
    file.write_bytes(raw)
    monkeypatch.setattr(_reading, "LARGEST_MEMBER", 1 << 20)
    with pytest.raises(LogError, match=r"samples/1_epoch_1\.json"):
        load(file)


def test_helm_joins_states_and_statistics(tmp_path: Path) -> None:
    folder = HELM().write_sample(tmp_path)
    log, report = load(folder)
    assert log.tasks == ["mmlu:subject=anatomy"] * 2
    assert log.texts[0] == "Which bone is number 0?\nA. femur\nB. tibia"
    assert set(log.experts) == {"org/small", "org/large"}
    assert log.outcomes["completion_tokens"].to_list() == [1] * 4
    assert report.notes == ("mmlu:subject=anatomy: metric exact_match",)
    log, _ = load(folder, options={"prompt": "request"})
    assert log.texts[0].startswith("Answer!")
    with pytest.raises(LogError, match=r"no metric 'bleu'; name one with `metric`: exact_match$"):
        load(folder, options={"metric": "bleu"})
    log, _ = load(folder, options={"metric": "bleu, exact_match"})
    assert log.outcomes.height == 4
    for stats in folder.rglob("per_instance_stats.json"):
        stats.write_text(stats.read_text().replace('"exact_match"', '"safety_score"'))
    assert load(folder)[1].notes == ("mmlu:subject=anatomy: metric safety_score",)


def test_helm_answers_in_many_words_are_scored_by_their_words(tmp_path: Path) -> None:
    folder = HELM().write_sample(tmp_path)
    for stats in folder.rglob("per_instance_stats.json"):
        entries = json.loads(stats.read_text())
        for entry in entries:
            entry["stats"].append({"name": {"name": "f1_score"}, "count": 1, "mean": 0.25})
        stats.write_text(json.dumps(entries))
    log, report = load(folder)
    assert report.notes == ("mmlu:subject=anatomy: metric f1_score",)
    assert log.matrix().tolist() == [[0.25, 0.25]] * 2


def test_helm_drops_perturbed_failed_and_further_requests(tmp_path: Path) -> None:
    folder = HELM().write_sample(tmp_path)
    file = min(folder.rglob("scenario_state.json"))
    state = json.loads(file.read_text())
    first = state["request_states"][0]
    state["request_states"] += [
        {**first, "instance": {**first["instance"], "perturbation": {"name": "typos"}}},
        {**first, "reference_index": 1},
        {**first, "instance": {**first["instance"], "id": "id9"}},
        {**first, "instance": {**first["instance"], "id": "id8"}, "result": {"success": False}},
        {**first, "train_trial_index": 1},
    ]
    file.write_text(json.dumps(state))
    stats = file.with_name("per_instance_stats.json")
    entries = json.loads(stats.read_text())
    trial = {"instance_id": "id0", "train_trial_index": 1, "stats": [{"name": {"name": "exact_match"}, "mean": 0.0}]}
    stats.write_text(json.dumps([*entries, trial]))
    log, report = load(file)
    assert report.dropped == {
        "a perturbed instance": 1,
        "a further request for one instance": 1,
        "no score": 1,
        "the request failed": 1,
    }
    assert log.outcomes["repeats"].to_list()[0] == [1.0, 0.0]
    stats.unlink()
    with pytest.raises(LogError, match="a HELM run needs its statistics; no such file"):
        load(file)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("mmlu:subject=a,method=joint,model=org_m", "mmlu:subject=a,method=joint"),
        ("gsm:model=org_m,stop=none", "gsm:stop=none"),
        ("gsm:model=org_m", "gsm"),
        ("x:model=m,model_deployment=d,k=1", "x:k=1"),
    ],
)
def test_helm_runs_are_named_without_their_model(tmp_path: Path, name: str, task: str) -> None:
    from turnout.importers.helm import _run

    assert _run(tmp_path / name / "scenario_state.json") == task


def test_every_line_of_a_sample_is_used(tmp_path: Path) -> None:
    log, report = load(LMEval().write_sample(tmp_path))
    assert (report.read, report.kept, report.dropped) == (8, 4, {"another filter": 4})
    assert log.queries["target"].to_list() == ["4", "4"]
