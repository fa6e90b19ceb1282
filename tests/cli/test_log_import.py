"""`turnout log import` and `formats` as a user runs them."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from turnout import registry
from turnout.outcomes import OutcomeLog

DOCS = Path(__file__).parents[2] / "docs" / "importers.md"


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TURNOUT_OFFLINE", raising=False)
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("name", registry.names("importer"))
def test_every_sample_becomes_a_log(name: str, tmp_path: Path, command: Any) -> None:
    (tmp_path / "in").mkdir()
    sample = registry.get("importer", name)().write_sample(tmp_path / "in")
    shown = command.run("log", "import", sample, "--out", tmp_path / "log")
    assert "2 queries × 2 experts" in shown
    assert f"from {name}" in shown
    assert len(OutcomeLog.read(tmp_path / "log").experts) == 2
    assert "luck" in command.run("log", "describe", tmp_path / "log")


def test_the_report_as_json_and_repeats_in_describe(tmp_path: Path, command: Any) -> None:
    rows = [
        {"query": f"q{n}?", "model_name": model, "performance": (n + turn * k) % 2}
        for n in range(6)
        for k, model in enumerate(("a", "b"))
        for turn in range(2)
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = json.loads(command.run("log", "import", "r.jsonl", "-o", "log.csv", "--json"))
    assert (report["read"], report["kept"], report["repeated"], report["outcomes"]) == (24, 24, 12, 12)
    described = json.loads(command.run("log", "describe", "log.csv", "--json"))
    assert described["luck"]["queries"] == 6
    shown = command.run("log", "describe", "log.csv")
    assert "of a single-run gap of" in shown
    assert "held-out runs confirm" in shown


def test_losses_are_told(tmp_path: Path, command: Any) -> None:
    rows = [{"query": "q", "model_name": "[a]", "performance": 1, "prompt_tokens": -4}]
    rows += [{"query": "q", "model_name": "b", "performance": None}]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shown = command.run("log", "import", "r.jsonl", "-o", "log")
    for part in ("2 read, 1 kept", "1 dropped: no score", "1 unusable values of prompt_tokens", "not carried over:"):
        assert part in shown


def test_options_and_formats_are_named(tmp_path: Path, command: Any) -> None:
    (tmp_path / "t.json").write_text(json.dumps([{"question": "q", "scores": {"m": 50, "n": 100}}]))
    assert command.fail("log", "import", "t.json", "-o", "log")[1].endswith("as in `scale=0:100`\n")
    command.run("log", "import", "t.json", "-o", "log", "--set", "scale=0:100")
    assert OutcomeLog.read("log").matrix().tolist() == [[0.5, 1.0]]
    code, said = command.fail("log", "import", "t.json", "-o", "log", "--set", "scale=0:100")
    assert (code, "exists already; pass --force" in said) == (2, True)
    command.run("log", "import", "t.json", "-o", "log", "--set", "scale=0:100", "--force", "--format", "routerdc")
    for arguments, part in (
        (("--set", "scale"), "`--set` takes NAME=VALUE, got 'scale'"),
        (("--set", "scal=1:2"), "unknown option 'scal'; did you mean 'scale'?"),
        (("--sha256", "0" * 64), "`--sha256` is about one fetched file"),
    ):
        code, said = command.fail("log", "import", "t.json", "-o", "log2", *arguments)
        assert (code, part in said) == (2, True), said
    code, said = command.fail("log", "import", "t.json", "-o", "log2", "--format", "routerd")
    assert "unknown importer 'routerd'; did you mean 'routerdc'?" in said
    (tmp_path / "x.json").write_text("{")
    code, said = command.fail("log", "import", "x.json", "-o", "log2")
    assert (code, "is in no known format" in said) == (2, True)
    assert not (tmp_path / "log2").exists()


def test_an_address_is_fetched_checked_and_kept(tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    table = tmp_path / "site" / "table.json"
    table.write_text(json.dumps([{"question": "q", "scores": {"m": 0, "n": 1}}]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/table.json"
    try:
        shown = command.run("log", "import", url, "-o", "log")
        table.write_text(json.dumps([{"question": "q", "scores": {"m": 1, "n": 1}}]))
        again = json.loads(command.run("log", "import", url, "-o", "log", "--force", "--json"))
        assert OutcomeLog.read("log").matrix().tolist() == [[0.0, 1.0]]
        changed = command.run("log", "import", url, "-o", "log", "--force", "--refresh")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    checksum = again["fetched"][0]["sha256"]
    assert f"SHA-256 {checksum}" in shown
    assert "changed since it was last fetched" in changed
    monkeypatch.setenv("TURNOUT_OFFLINE", "1")
    command.run("log", "import", url, "-o", "log", "--force")
    assert OutcomeLog.read("log").matrix().tolist() == [[1.0, 1.0]]
    code, said = command.fail("log", "import", url, "-o", "log", "--force", "--sha256", checksum)
    assert (code, "is damaged, and TURNOUT_OFFLINE" in said) == (1, True)
    code, said = command.fail("log", "import", "routellm:gsm8k", "-o", "log", "--force")
    assert (code, "TURNOUT_OFFLINE is set" in said) == (1, True)
    code, said = command.fail("log", "import", "routellm:gsm8k", "routerdc:test", "-o", "log", "--force")
    assert (code, "several formats (routellm, routerdc)" in said) == (2, True)


def test_formats_are_listed(command: Any) -> None:
    listed = json.loads(command.run("log", "formats", "--json"))["formats"]
    assert [each["name"] for each in listed] == list(registry.names("importer"))
    shown = command.run("log", "formats")
    assert all(each["name"] in shown and each["title"] in shown for each in listed)
    shown = command.run("log", "formats", "lm_eval")
    assert "--set metric=…" in shown
    assert "routellm:mmlu" in command.run("log", "formats", "routellm")
    assert "unknown importer" in command.fail("log", "formats", "lm_evl")[1]


def test_the_page_of_the_documentation_is_the_commands(command: Any) -> None:
    assert DOCS.read_text(encoding="utf-8") == command.run("log", "formats", "--markdown")
