from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.config import Config, ExpertConfig, build, home, leaves, load
from turnout.errors import ConfigError


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))


def test_precedence_and_origins(tmp_path: Path) -> None:
    (tmp_path / "user" / "turnout").mkdir(parents=True)
    user = tmp_path / "user" / "turnout" / "turnout.toml"
    user.write_text("[gateway]\nport = 1\ndeadline_s = 2\n[router]\nexplore = 0.1\n[log]\nlevel = 'debug'\n")
    (tmp_path / "turnout.toml").write_text("[gateway]\nport = 3\n[router]\nexplore = 0.2\n")
    loaded = load(flags={"gateway.port": 5, "gateway.host": None}, environ={"TURNOUT_ROUTER_EXPLORE": "0.5"})
    assert (loaded.gateway.port, loaded.router.explore, loaded.gateway.deadline_s) == (5, 0.5, 2.0)
    assert loaded.origins["gateway.port"] == "flag"
    assert loaded.origins["router.explore"] == "TURNOUT_ROUTER_EXPLORE"
    assert loaded.origins["gateway.deadline_s"] == str(user)
    assert loaded.origins["gateway.host"] == "default"
    assert set(loaded.origins) == {key for key, _ in leaves(loaded)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gateway]\nprot = 1", r"unknown key `gateway.prot`; did you mean 'port'\?"),
        ("[gateway]\nport = 'x'", "`gateway.port` must be int, got 'x'"),
        ("[gateway]\nport = true", "`gateway.port` must be int, got True"),
        ("[gateway]\nport = 70000", "must be in"),
        ("[embedded]\nanswer = 0", "`embedded.answer` must be at least 1, got 0"),
        ("[traces]\nstore = 'all'", "`traces.store` must be one of none, signals, prompts, got 'all'"),
        ("[router]\nexplore = 2", "`router.explore` must be in"),
        ("[[experts]]\nid = 'a'", "lacks base_url"),
        ("[[experts]]\nid = 'a'\nbase_url = 'ftp://x'", "must start with http"),
        ("[[experts]]\nid='a'\nbase_url='http://x'\n[[experts]]\nid='a'\nbase_url='http://x'", "ids must be unique"),
        ("[[experts]]\nid='a'\nbase_url='http://x'\nfeatures=['tool']", "unknown feature 'tool'; did you mean 'tools'"),
        ("gateway = 3", "`gateway` must be a table"),
        ("[gateway", "turnout.toml"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "turnout.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(environ={})


def test_a_file_of_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "turnout.toml").write_bytes(b"\xef\xbb\xbf[gateway]\r\nport = 9000\r\n")
    assert load(environ={}).gateway.port == 9000


def test_servers_are_read_in_full(tmp_path: Path) -> None:
    (tmp_path / "turnout.toml").write_text(
        "[[experts]]\nid='a'\nbase_url='http://x/v1'\nprice={input=1, output=2.5}\nbody={temperature=0}\n"
    )
    (expert,) = load(environ={}).experts
    assert expert == ExpertConfig("a", "http://x/v1", price=expert.price, body={"temperature": 0})
    assert (expert.price.input, expert.price.output) == (1.0, 2.5)


def test_the_written_template_is_the_defaults(tmp_path: Path) -> None:
    from turnout.cli.init import TEMPLATE

    offered = {line.removeprefix("# ").partition(" = ")[0] for line in TEMPLATE.splitlines()}
    (tmp_path / "turnout.toml").write_text(TEMPLATE)
    assert load(environ={}) == Config(origins=load(environ={}).origins)
    for key, value in leaves(Config()):
        name = key.rpartition(".")[2]
        assert key in ("experts", "home", "embedded.threads") or name in offered or f"[{key}" in TEMPLATE, (key, value)


def test_home_follows_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "h"))
    assert home() == tmp_path / "h"
    assert load().origins["home"] == "TURNOUT_HOME"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["gateway", "router", "experts", "log", "home", "x"]), JSON, max_size=4))
def test_any_table_is_a_config_or_a_config_error(values: dict[str, object]) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(build(Config, values, ""), Config)
