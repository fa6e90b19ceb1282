"""Rules from a file: loaded, checked, applied by `route` and told by `explain`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from turnout.config import load
from turnout.errors import ConfigError
from turnout.rules import Rule, SignalSpec, Then

HEAD = """
[embedded]
models = ["smollm2-135m"]

[router.signals.code]
type = "keyword"
words = ["traceback", "def"]
[router.signals.long]
type = "length"
min = 3000
[router.signals.either]
type = "when"
when = "code or long"
"""
RULES = """
[[router.rules]]
name = "steps for code"
when = "either"
priority = 2
then = { expert = "smollm2-135m+steps" }
[[router.rules]]
name = "no secrets"
when = "long and not code"
then = { refuse = "too long" }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "turnout.toml"
    path.write_text(text, encoding="utf-8")
    return path


def turnout(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "turnout", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=120)


def test_rules_are_read_from_toml(tmp_path: Path) -> None:
    settings = load(write(tmp_path, HEAD + RULES), environ={}).router
    assert settings.signals["code"] == SignalSpec("keyword", words=("traceback", "def"))
    assert settings.signals["long"].min == 3000.0
    assert settings.rules[0] == Rule("either", Then(expert="smollm2-135m+steps"), "steps for code", 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[router.signals.x]\ntype = 'keywords'\n", "`router.signals.x.type` must be one of keyword, regex"),
        ("[router.signals.x]\ntype = 'keyword'\nword = ['a']\n", "`router.signals.x.word`; did you mean 'words'?"),
        ("[[router.rules]]\nwhen = 'cod'\nthen = {lam = 1.0}\n", "unknown signal 'cod'; did you mean 'code'?"),
        ("[[router.rules]]\nwhen = 'code'\nthen = {lamda = 1.0}\n", "unknown key `router.rules[0].then.lamda`"),
        ("[[router.rules]]\nwhen = 'code'\n", "lacks then"),
        ("[router.signals.x]\ntype = 'when'\nwhen = 'x or code'\n", "a circle: x → x"),
        ("[[router.rules]]\nwhen = 'code and not either'\nthen = {lam = 1.0}\n", "can never hold"),
    ],
)  # fmt: skip
def test_bad_rules_are_refused_at_load(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, HEAD + text), environ={})
    assert message in str(error.value)


def test_config_check_finds_what_is_never_reached(tmp_path: Path) -> None:
    shown = turnout("config", "check", "--config", str(write(tmp_path, HEAD + RULES)), "--json")
    assert shown.returncode == 1, shown.stderr
    (finding,) = json.loads(shown.stdout)["findings"]
    assert (finding["kind"], finding["rule"]) == ("unreachable", "no secrets")
    fixed = write(tmp_path, HEAD + RULES.replace("priority = 2", "priority = -2"))
    assert turnout("config", "check", "--config", str(fixed)).returncode == 0
    wrong = write(tmp_path, HEAD + RULES.replace("135m+steps", "135m+step"))
    shown = turnout("config", "check", "--config", str(wrong))
    assert shown.returncode == 2
    assert "did you mean 'smollm2-135m+steps'?" in shown.stderr


def test_route_and_explain_follow_the_rules(tmp_path: Path) -> None:
    config = str(write(tmp_path, HEAD + RULES.replace("long and not code", "not code").replace("priority = 2", "")))
    lines = "".join(json.dumps({"id": n, "prompt": text}) + "\n" for n, text in enumerate(["def f", "hello"]))
    shown = turnout("route", "shipped", "--config", config, given=lines)
    first, second = map(json.loads, shown.stdout.splitlines())
    assert (first["expert"], first["reason"], first["rule"]) == ("smollm2-135m+steps", "ruled", "steps for code")
    assert first["conditions"]["code"] == {"holds": True, "value": "def"}
    assert second["error"] == "too long"
    assert shown.returncode == 1
    told = json.loads(turnout("explain", "shipped", "def f", "--config", config, "--json").stdout)
    assert (told["expert"], told["rules"]["rule"]) == ("smollm2-135m+steps", "steps for code")
    assert told["policy_choice"] == "smollm2-135m+steps"
    assert told["flips"] == []
    assert told["rules"]["not_tried"] == ["no secrets"]
    shown = turnout("explain", "shipped", "hello", "--config", config)
    assert "too long (refused)" in shown.stdout
    assert "signal code does not hold" in shown.stdout
