"""Who may call, as pure decisions; over sockets in test_app."""

from __future__ import annotations

import pytest

from turnout.config import GatewayConfig
from turnout.errors import ConfigError
from turnout.gateway.access import Access


def test_an_open_bind_needs_a_key() -> None:
    with pytest.raises(ConfigError, match="needs an access key"):
        Access.from_config(GatewayConfig(host="0.0.0.0"), {})
    with pytest.raises(ConfigError, match="KEY, which is not set"):
        Access.from_config(GatewayConfig(host="0.0.0.0", access_key_env="KEY"), {"KEY": " "})
    guarded = Access.from_config(GatewayConfig(host="0.0.0.0", access_key_env="KEY"), {"KEY": "k"})
    assert guarded.stranger({b"host": b"any.name.example"}) is None, "behind a key, the name is the operator's choice"
    assert guarded.keyless("/v1/models", {}) is not None


def test_allowed_hosts_hold_for_an_open_bind_too() -> None:
    access = Access.from_config(
        GatewayConfig(host="0.0.0.0", access_key_env="KEY", allowed_hosts=("api.example",)), {"KEY": "k"}
    )
    assert access.stranger({b"host": b"api.example:8790"}) is None
    refusal = access.stranger({b"host": b"other.example"})
    assert refusal is not None
    assert refusal.status == 421


@pytest.mark.parametrize("given", [b"", b"Bearer", b"Bearer ", b"Bearer kk", b"Bearer \xff", b"k", b"Basic k"])
def test_only_the_key_opens(given: bytes) -> None:
    access = Access.from_config(GatewayConfig(access_key_env="KEY"), {"KEY": " k\n"})
    refusal = access.keyless("/v1/models", {b"authorization": given})
    assert refusal is not None
    assert (refusal.status, refusal.code) == (401, "invalid_api_key")
    assert access.keyless("/v1/models", {b"authorization": b"bearer k"}) is None
    assert access.keyless("/healthz", {}) is None


def test_the_key_is_not_kept() -> None:
    access = Access.from_config(GatewayConfig(access_key_env="KEY"), {"KEY": "opensesame"})
    assert "opensesame" not in repr(vars(access))


def test_a_star_allows_every_host_but_no_foreign_page() -> None:
    access = Access.from_config(GatewayConfig(allowed_hosts=("*",)), {})
    assert access.stranger({b"host": b"any.example"}) is None
    assert access.stranger({b"host": b"any.example", b"origin": b"https://other.example"}) is not None
