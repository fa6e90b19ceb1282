"""`turnout cards`: a file of cards is searched and changed, a router fitted and judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from turnout.cards import CardRouter, read_cards
from turnout.cli import main
from turnout.signals.sentence import Sentence
from turnout.testing.encoders import tensors, write

CARDS = {"weather": "Forecasts of rain and snow", "stocks": "Share prices and markets", "music": "Songs and albums"}


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    path = tmp_path / "cards.jsonl"
    path.write_text("".join(json.dumps({"id": id, "description": text}) + "\n" for id, text in CARDS.items()))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    with pytest.raises(SystemExit) as exited:
        main(["cards", *map(str, arguments), "--json"])
    assert not exited.value.code
    return json.loads(capsys.readouterr().out)


def test_search_add_and_remove(cards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = run(capsys, "search", cards, "will it rain tomorrow")["results"]
    assert found["experts"] == ["weather"]
    assert not found["refused"]
    (tmp_path / "new.json").write_text(json.dumps({"taxi": "Books a taxi to the airport"}))
    assert run(capsys, "add", cards, tmp_path / "new.json") == {"added": ["taxi"], "cards": 4}
    assert run(capsys, "search", cards, "a taxi please", "-k", 2)["results"][0]["experts"][0] == "taxi"
    assert run(capsys, "remove", cards, "taxi", "music")["cards"] == 2
    assert len(cards.read_text().splitlines()) == 2


def test_fit_and_eval(cards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = {
        "weather": "rain snow storm sun wind",
        "stocks": "shares market price nasdaq fund",
        "music": "song album band",
    }
    rows = [
        {"text": f"{ask} {word} {n}", "expert": expert}
        for expert, found in words.items()
        for word in found.split()
        for n, ask in enumerate(["tell me about the", "what of the", "please give me the", "news on the"])
    ]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fitted = run(capsys, "fit", cards, tmp_path / "said.jsonl", "-o", tmp_path / "router", "--coverage", "0.8")
    assert fitted["cards"] == 3
    rows += [{"text": "zxqj wvuu", "expert": None}]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = run(capsys, "eval", tmp_path / "router", tmp_path / "test.jsonl")
    assert report["accuracy"] > 0.9
    assert report["out_of_scope"] == 1
    assert run(capsys, "remove", tmp_path / "router", "music")["cards"] == 2
    main_output = run(capsys, "search", tmp_path / "router", "the market price")["results"][0]
    assert main_output["ranking"][0]["id"] == "stocks"


def test_an_encoder_is_told_once_and_kept(cards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = write(tmp_path / "tiny.safetensors", tensors())
    assert run(capsys, "search", cards, "will it rain", "--encoder", weights)["results"][0]["experts"]
    CardRouter(read_cards(cards), encoder=Sentence(str(weights))).save(tmp_path / "router")
    assert run(capsys, "search", tmp_path / "router", "will it rain")["results"][0]["experts"]
    with pytest.raises(SystemExit):
        main(["cards", "search", str(tmp_path / "router"), "will it rain", "--encoder", str(weights)])
    assert "a router, which keeps its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "none.jsonl", "x"], "cannot read cards"),
        (["remove", "{cards}", "wether"], "no card 'wether'; did you mean 'weather'"),
        (["add", "{cards}", "{cards}"], "ids must differ"),
        (["eval", "{cards}", "{cards}"], "must be an object with a `text`"),
    ],
)
def test_errors_are_one_line(cards: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["cards", *(argument.format(cards=cards) for argument in arguments)])
    assert exited.value.code in {1, 2}
    assert said in capsys.readouterr().err
