"""A collection: everything is asked once, a killed run goes on, the cap holds, failures are not wrong answers."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from turnout.collect.answers import Answer, Folder
from turnout.collect.ask import Settings
from turnout.collect.runner import GIVE_UP_AFTER, Progress, collect
from turnout.collect.tasks import Question
from turnout.errors import ConfigError, LogError
from turnout.outcomes import OutcomeLog
from turnout.testing.experts import Script, ScriptedExpert, ScriptedServer
from turnout.types import Arm, Price

SETTINGS = Settings({"*": 10})
CHEAP, DEAR = Arm("cheap", price=Price(1.0, 1.0)), Arm("dear", price=Price(10.0, 10.0))


def questions(count: int) -> list[Question]:
    return [
        Question("t", f"question {i}", f"question {i}", "exact", lambda r: float("question" in r)) for i in range(count)
    ]


async def no_sleep(seconds: float) -> None:
    assert seconds > 0


async def run(out: Path, experts: Sequence[ScriptedExpert], count: int = 6, **options: object) -> Progress:
    return await collect(questions(count), experts, out, settings=SETTINGS, sleep=no_sleep, **options)  # type: ignore[arg-type]


async def test_a_full_log(tmp_path: Path) -> None:
    good, bad = ScriptedExpert(CHEAP, Script(text=None)), ScriptedExpert(DEAR, Script("nonsense"))
    seen: list[int] = []
    progress = await run(tmp_path / "log", [good, bad], watch=lambda p: seen.append(p.done))
    log = OutcomeLog.read(tmp_path / "log")
    assert (log.is_full, len(log), sorted(log.experts)) == (True, 6, ["cheap", "dear"])
    assert log.only(["cheap", "dear"]).matrix().mean(axis=0).tolist() == [1.0, 0.0]
    assert log.only(["cheap"]).matrix("cost")[0, 0] == pytest.approx(15e-6)
    assert set(log.tasks or []) == {"t"}
    assert (progress.done, progress.asked, progress.failed, seen[0], seen[-1]) == (12, 12, 0, 0, 12)
    assert progress.spent == pytest.approx(6 * 15e-6 + 6 * 150e-6)


async def test_nothing_is_asked_twice_and_more_can_be_asked_later(tmp_path: Path) -> None:
    await run(tmp_path, [ScriptedExpert(CHEAP)], 4)
    again, other = ScriptedExpert(CHEAP), ScriptedExpert(DEAR)
    progress = await run(tmp_path, [again, other], 6)
    assert (len(again.calls), len(other.calls)) == (2, 6)
    assert (progress.total, progress.done, progress.asked) == (12, 12, 8)
    assert OutcomeLog.read(tmp_path).is_full


async def test_failures_are_kept_apart_and_tried_again(tmp_path: Path) -> None:
    flaky = ScriptedExpert(CHEAP, Script("no", status=400), Script(text=None))
    first = await run(tmp_path, [flaky], concurrency=1)
    assert (first.failed, first.done, len(OutcomeLog.read(tmp_path).outcomes)) == (1, 5, 5)
    second = await run(tmp_path, [ScriptedExpert(CHEAP, Script(text=None))])
    assert (second.asked, second.done) == (1, 6)
    assert OutcomeLog.read(tmp_path).matrix().min() == 1.0


async def test_an_overloaded_server_is_asked_again(tmp_path: Path) -> None:
    busy = ScriptedExpert(CHEAP, Script("busy", status=429), Script("broken", status=500), Script(text=None))
    progress = await run(tmp_path, [busy], 1)
    assert (progress.done, progress.failed, len(busy.calls)) == (1, 0, 3)


async def test_an_expert_that_only_fails_is_given_up(tmp_path: Path) -> None:
    down, up = ScriptedExpert(DEAR, Script("no key", status=401)), ScriptedExpert(CHEAP, Script(text=None))
    progress = await run(tmp_path, [down, up], 40, concurrency=2)
    assert progress.given_up == ["dear"]
    assert len(down.calls) <= GIVE_UP_AFTER + 1
    assert OutcomeLog.read(tmp_path).experts == ("cheap",)


async def test_no_answer_at_all_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"no answer yet; the first failure: cheap answered 401: .*no key"):
        await run(tmp_path, [ScriptedExpert(CHEAP, Script("no key", status=401))], 2)


@pytest.mark.parametrize("concurrency", [1, 4, 16])
@pytest.mark.parametrize("cap", [0.0, 0.0005, 0.003, 1.0])
async def test_the_cap_holds_under_concurrency(tmp_path: Path, cap: float, concurrency: int) -> None:
    dear = ScriptedExpert(DEAR, Script(text=None, delay_s=0.001))
    try:
        progress = await run(tmp_path, [dear], 30, max_usd=cap, concurrency=concurrency)
    except LogError:  # the cap left room for nothing
        assert not dear.calls
        return
    assert len(dear.calls) * 150e-6 <= cap + 1e-12
    assert progress.spent == pytest.approx(len(dear.calls) * 150e-6)
    assert progress.capped == (len(dear.calls) < 30)


async def test_a_cap_below_the_first_call_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="the cap of US\\$ 1e-06 has no room"):
        await run(tmp_path, [ScriptedExpert(DEAR)], max_usd=1e-6)


async def test_the_cap_counts_earlier_runs_and_goes_on_when_raised(tmp_path: Path) -> None:
    first = await run(tmp_path, [ScriptedExpert(DEAR)], 30, max_usd=0.005)
    same = await run(tmp_path, [ScriptedExpert(DEAR)], 30, max_usd=0.005)
    assert first.capped
    assert same.asked == 0
    more = await run(tmp_path, [ScriptedExpert(DEAR)], 30, max_usd=1.0)
    assert (more.done, more.capped) == (30, False)


async def test_what_was_spent_on_tries_before_the_cap_is_told(tmp_path: Path) -> None:
    broken = ScriptedExpert(DEAR, Script(text=None), Script(cut_after=0))
    progress = await run(tmp_path, [broken], 2, max_usd=0.003, concurrency=1)
    assert (progress.capped, progress.done, len(broken.calls)) == (True, 1, 2)
    with Folder(tmp_path) as folder:
        assert progress.spent == pytest.approx(folder.spent)
        assert folder.spent > 0.0015


async def test_an_answer_that_breaks_off_is_charged_in_full(tmp_path: Path) -> None:
    broken = ScriptedExpert(DEAR, Script(cut_after=0))
    with pytest.raises(LogError):
        await run(tmp_path, [broken], 3, max_usd=0.01, concurrency=3)
    with Folder(tmp_path) as folder:
        assert 0.001 < folder.spent <= 0.01


async def test_other_settings_need_another_folder(tmp_path: Path) -> None:
    await run(tmp_path, [ScriptedExpert(CHEAP)], 2)
    with pytest.raises(ConfigError, match="max_tokens 10 -> 20"):
        await collect(questions(2), [ScriptedExpert(CHEAP)], tmp_path, settings=Settings({"*": 20}))
    changed = Arm("cheap", model="another")
    with pytest.raises(ConfigError, match="model"):
        await collect(questions(2), [ScriptedExpert(changed)], tmp_path, settings=SETTINGS)


async def test_an_interrupted_run_leaves_a_log(tmp_path: Path) -> None:
    slow = ScriptedExpert(CHEAP, Script(text=None), Script(text=None), Script(text=None, delay_s=60))
    task = asyncio.create_task(run(tmp_path, [slow], concurrency=1))
    while len(slow.calls) < 3:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert OutcomeLog.read(tmp_path).outcomes.height == 2


async def test_half_a_line_is_forgotten(tmp_path: Path) -> None:
    await run(tmp_path, [ScriptedExpert(CHEAP)], 3)
    file = tmp_path / "answers.jsonl"
    file.write_bytes(file.read_bytes()[:-7])
    again = ScriptedExpert(CHEAP)
    progress = await run(tmp_path, [again], 3)
    assert (len(again.calls), progress.done) == (1, 3)
    assert all(json.loads(line) for line in file.read_bytes().splitlines())


async def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text('{"query_id": "a"}\n')
    with pytest.raises(LogError, match=r"answers\.jsonl:1: .*expert"):
        await run(tmp_path, [ScriptedExpert(CHEAP)], 1)
    with pytest.raises(LogError, match="cannot write"):
        await run(tmp_path / "answers.jsonl", [ScriptedExpert(CHEAP)], 1)


async def test_one_run_at_a_time(tmp_path: Path) -> None:
    with Folder(tmp_path), pytest.raises(ConfigError, match="in use"):
        await run(tmp_path, [ScriptedExpert(CHEAP)], 1)


@pytest.mark.parametrize(("count", "experts", "concurrency"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
async def test_something_must_be_asked(tmp_path: Path, count: int, experts: int, concurrency: int) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        await run(tmp_path, [ScriptedExpert(CHEAP)] * experts, count, concurrency=concurrency)


async def test_log_probabilities_become_columns(tmp_path: Path) -> None:
    document = {"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"logprob": -0.25}]}}]}
    expert = ScriptedExpert(CHEAP, Script(raw=json.dumps(document).encode()))
    await collect(questions(2), [expert], tmp_path, settings=Settings({"*": 10}, top_logprobs=0))
    assert OutcomeLog.read(tmp_path).matrix("logprob_mean").tolist() == [[-0.25], [-0.25]]


async def test_calls_of_killed_runs_are_paid_for_though_they_are_asked_again(tmp_path: Path) -> None:
    for _ in range(2):
        with Folder(tmp_path) as killed:
            killed.begin("t/1", "dear", 0.5)
    with Folder(tmp_path) as folder:
        assert folder.spent == pytest.approx(1.0)
        folder.begin("t/1", "dear", 0.5)
        folder.add(Answer(query_id="t/1", expert="dear", cost=0.1))
        assert folder.spent == pytest.approx(1.1)
    with Folder(tmp_path) as again:
        assert again.spent == pytest.approx(1.1)


async def test_what_a_grader_raises_comes_by_itself_and_costs_no_answer(tmp_path: Path) -> None:
    def odd(response: str) -> float:
        raise LogError("grader 'odd' must return a number")

    with pytest.raises(LogError, match="must return a number"):
        await collect([Question("t", "?", "x", "odd", odd)], [ScriptedExpert(CHEAP)], tmp_path, settings=SETTINGS)
    await run(tmp_path, [ScriptedExpert(CHEAP)], 1)
    assert len(OutcomeLog.read(tmp_path)) == 1  # an answer without a score is not one that scores 0
    mended, again = Question("t", "?", "x", "odd", lambda response: 0.5), ScriptedExpert(CHEAP)
    await collect([mended], [again], tmp_path, settings=SETTINGS)
    assert (again.calls, OutcomeLog.read(tmp_path).matrix()[:1].tolist()) == ([], [[0.5]])


COLLECT_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from turnout.collect.ask import Settings
from turnout.collect.runner import collect
from turnout.collect.tasks import Question
from turnout.experts.http import HttpExpert
from turnout.types import Arm, Price
made = [Question("t", f"question {i}", "x", "exact", lambda r: float("question" in r)) for i in range(60)]
expert = HttpExpert(Arm("cheap", price=Price(1.0, 1.0)), sys.argv[2])
watch = lambda p: print(p.done, flush=True)
asyncio.run(collect(made, [expert], Path(sys.argv[1]), settings=Settings({"*": 10}), concurrency=3, watch=watch))
"""


async def test_kill_9_costs_only_what_was_in_flight(tmp_path: Path) -> None:
    with ScriptedServer(Script(text=None, delay_s=0.02)) as server:
        code = [sys.executable, "-c", COLLECT_UNTIL_KILLED, str(tmp_path), server.base_url]
        child = subprocess.Popen(code, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= 10:
                child.send_signal(signal.SIGKILL)
                break
        child.wait()
        child.stdout.close()
        asked = len(server.requests)
    with Folder(tmp_path) as folder:
        kept = len(folder.answers)
        in_flight = round((folder.spent - kept * 15e-6) / 1e-6)
    assert 10 <= kept <= asked <= kept + 3
    assert (in_flight > 0) == (asked > kept)
    rest = ScriptedExpert(CHEAP, Script(text=None))
    made = [Question("t", f"question {i}", "x", "exact", lambda r: float("question" in r)) for i in range(60)]
    progress = await collect(made, [rest], tmp_path, settings=SETTINGS)
    assert (len(rest.calls), progress.done) == (60 - kept, 60)
