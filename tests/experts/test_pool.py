"""From a configuration to experts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from turnout.config import Config, EmbeddedConfig, ExpertConfig, PriceConfig
from turnout.errors import ConfigError, ModelError, UnknownNameError
from turnout.experts import pool
from turnout.testing.experts import Script, ScriptedServer
from turnout.types import Call, Price

NONE = EmbeddedConfig(models=())


async def test_servers_become_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIG_KEY", " sk-big\n")
    async with ScriptedServer(Script("hello")) as server:
        big = ExpertConfig(
            id="big",
            base_url=server.base_url + "/",
            model="big-1",
            key_env="BIG_KEY",
            price=PriceConfig(2.0, 10.0),
            context=8192,
            features=("tools",),
            suffix=" Think.",
            body={"seed": 1},
        )
        config = Config(embedded=NONE, experts=(big, ExpertConfig(id="small", base_url=server.base_url)))
        opened = pool.build(config)
        assert [arm.id for arm in opened.arms] == ["big", "small"]
        assert [arm.id for arm in pool.arms(config)] == ["big", "small"]
        arm = opened.experts["big"].arm
        assert (arm.model, arm.how.suffix, dict(arm.how.body)) == ("big-1", " Think.", {"seed": 1})
        assert arm.price == Price(2.0, 10.0)
        assert arm.limits.context == 8192
        assert arm.limits.features == {"tools"}
        assert opened.experts["small"].arm.model == "small"
        for expert in opened:
            reply = await expert.call(Call(json.dumps({"messages": []}).encode()))
            assert [json.loads(chunk)["object"] async for chunk in reply.body] == ["chat.completion"]
        await opened.aclose()
    first, second = server.requests
    assert first.path == "/v1/chat/completions"
    assert first.headers["authorization"] == "Bearer sk-big"
    assert "authorization" not in second.headers


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    config = Config(embedded=NONE, experts=(ExpertConfig(id="a", base_url="http://h/v1", key_env="NO_SUCH_KEY"),))
    with pytest.raises(ConfigError, match="'a' takes its key from the variable NO_SUCH_KEY, which is not set"):
        pool.build(config)


def test_ids_are_unique_across_embedded_and_servers() -> None:
    config = Config(experts=(ExpertConfig(id="smollm2-135m", base_url="http://h/v1"),))
    with pytest.raises(ConfigError, match="two experts have the id 'smollm2-135m'"):
        pool.arms(config)


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'smollm2-135m'"):
        pool.arms(Config(embedded=EmbeddedConfig(models=("smollm-135m",))))


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="turnout models pull smollm2-135m"):
        pool.build(Config(home=str(tmp_path)))
