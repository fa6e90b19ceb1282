"""One deny-by-default decision on who may speak to the gateway: Host, Origin, then the access key.

A page in a browser can reach 127.0.0.1; what stops it is that its Origin is another (CSRF) and, where it rebinds its
own DNS name to 127.0.0.1, that its Host is another. Both are checked before the key, and the key in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Mapping

from turnout.config import GatewayConfig
from turnout.errors import ConfigError, RequestError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
CORS = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type, x-turnout-session"),
    (b"access-control-expose-headers", b"*"),
)
OPEN_PATHS = frozenset({"/healthz"})  # a liveness probe carries no key


class Access:
    """Who may call. Holds only a digest of the key. Build it with `from_config`."""

    def __init__(self, key: str | None, hosts: frozenset[str], origins: frozenset[str]) -> None:
        self._digest = _digest(key.encode()) if key else None
        self.hosts, self.origins = hosts, origins

    @classmethod
    def from_config(cls, config: GatewayConfig, environ: Mapping[str, str] | None = None) -> Access:
        """The rules in force. An empty `hosts` allows every name. Raises ConfigError for an open, unguarded bind."""
        key = _key(config.access_key_env, os.environ if environ is None else environ)
        loopback = is_loopback(config.host)
        if key is None and not loopback:
            raise ConfigError(
                f"`gateway.host` {config.host!r} is open to other machines, which needs an access key: name the "
                "variable that holds it in `gateway.access_key_env`, or bind to 127.0.0.1"
            )
        named = frozenset(host.lower() for host in config.allowed_hosts)
        hosts = named | LOOPBACK_NAMES | {config.host.lower()} if loopback or named else frozenset[str]()
        return cls(
            key,
            frozenset() if "*" in named else hosts,
            frozenset(origin.lower().rstrip("/") for origin in config.allowed_origins),
        )

    def stranger(self, headers: Mapping[bytes, bytes]) -> RequestError | None:
        """Why a caller from this place is turned away, or None: the Host it names, the page it comes from."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self.hosts and hostname(host) not in self.hosts:
            return RequestError(
                f"Host {host!r} is not served here; allowed: {', '.join(sorted(self.hosts))} (`gateway.allowed_hosts`)",
                status=421,
                code="misdirected_request",
            )
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        foreign = origin and origin not in self.origins and origin.partition("://")[2] != host
        if foreign or (not origin and headers.get(b"sec-fetch-site") == b"cross-site"):
            shown = repr(origin) if origin else "cross-site"
            return RequestError(
                f"a page from another site ({shown}) may not call this gateway (`gateway.allowed_origins`)",
                status=403,
                code="cross_site_request",
            )
        return None

    def keyless(self, path: str, headers: Mapping[bytes, bytes]) -> RequestError | None:
        """Why a caller with this key, or none, is turned away, or None."""
        if self._digest is None or path in OPEN_PATHS:
            return None
        authorization = headers.get(b"authorization", b"")
        scheme, _, given = authorization.partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(_digest(given.strip()), self._digest):
            return None
        wrong, absent = "the access key is wrong", "an access key is needed: `Authorization: Bearer <key>`"
        return RequestError(wrong if authorization else absent, status=401, code="invalid_api_key")

    def cors(self, headers: Mapping[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
        """What a browser needs to hear to let an allowed page read the answer; nothing for anybody else."""
        origin = headers.get(b"origin")
        if not self.origins or origin is None or origin.decode("latin-1").lower() not in self.origins:
            return ()
        return ((b"access-control-allow-origin", origin), (b"vary", b"origin"), *CORS)


def is_loopback(host: str) -> bool:
    """Whether a bind address is reachable from this machine only.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, False, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def hostname(host: str) -> str:
    """A Host header without its port.

    >>> hostname("localhost:8790"), hostname("[::1]:8790"), hostname("[::1]")
    ('localhost', '::1', '::1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _key(variable: str | None, environ: Mapping[str, str]) -> str | None:
    if variable is None:
        return None
    key = environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"`gateway.access_key_env` names the variable {variable}, which is not set or empty")
    return key


def _digest(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=32).digest()
