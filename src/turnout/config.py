"""TOML, environment and flags to one frozen `Config`, remembering where each value came from.

Precedence: flags > TURNOUT_* variables > ./turnout.toml > the user's file > defaults. Unknown keys are refused.
Environment names are the dotted key in capitals: TURNOUT_GATEWAY_PORT sets `gateway.port`.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from turnout.errors import ConfigError, did_you_mean
from turnout.rules import Rule, SignalSpec, check
from turnout.types import FEATURES

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """The HTTP service. `access_key_env` names the variable that holds the key clients must send."""

    host: str = "127.0.0.1"
    port: int = 8790
    access_key_env: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    deadline_s: float = 300.0
    connect_s: float = 5.0
    max_body_mb: float = 10.0
    max_inflight: int = 512


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """Which router decides. `path` None is the one that ships; `default` serves when the router is unfitted.

    `explore` is the chance of a uniform choice among eligible experts; a conversation leaves its expert only for a
    gain in the objective above `switch_margin`. `signals` are named facts about a request; the first of the `rules`
    that holds refuses, forces or narrows.
    """

    path: str | None = None
    default: str | None = None
    explore: float = 0.0
    switch_margin: float = 0.05
    retries: int = 1
    signals: Mapping[str, SignalSpec] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class TracesConfig:
    """What is kept of each decision: nothing, signal values, or signal values and prompts."""

    store: Literal["none", "signals", "prompts"] = "signals"
    max_days: float = 30.0
    max_mb: float = 512.0


@dataclass(frozen=True, slots=True)
class EmbeddedConfig:
    """The experts that run inside: names as in `turnout models list`; `slots` answers at once per model.

    An answer ends after `answer` tokens where its request names no cap of its own: small models may not find an end.
    """

    models: tuple[str, ...] = ("smollm2-135m", "qwen2.5-coder-0.5b")
    slots: int = 4
    threads: int | None = None
    context: int = 4096
    answer: int = 1024


@dataclass(frozen=True, slots=True)
class PriceConfig:
    """US dollars per million tokens."""

    input: float = 0.0
    output: float = 0.0


@dataclass(frozen=True, slots=True)
class ExpertConfig:
    """One OpenAI-compatible server. `key_env` names the variable that holds its key; `suffix` is the arm's *how*."""

    id: str
    base_url: str
    model: str | None = None
    key_env: str | None = None
    price: PriceConfig = PriceConfig()
    context: int | None = None
    features: tuple[str, ...] = ("tools", "response_format", "logprobs", "prefill")
    card: str = ""
    tags: tuple[str, ...] = ()
    suffix: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """Who grades for `turnout collect` by reading: the id of an `expert`, or a server of its own at `base_url`.

    `rubric` replaces the built-in one; scores run from 0 to `scale`. `key_env` names the variable that holds the key.
    `body` adds fields to each request, as a `grammar` that holds a small llama.cpp model to the form of a score.
    """

    expert: str | None = None
    base_url: str | None = None
    model: str | None = None
    key_env: str | None = None
    price: PriceConfig = PriceConfig()
    rubric: str | None = None
    scale: int = 10
    max_tokens: int = 256
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The program's own log."""

    level: Literal["debug", "info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a run depends on. `origins` maps each dotted key to `default`, a file, a variable or a flag."""

    gateway: GatewayConfig = GatewayConfig()
    router: RouterConfig = RouterConfig()
    traces: TracesConfig = TracesConfig()
    embedded: EmbeddedConfig = EmbeddedConfig()
    experts: tuple[ExpertConfig, ...] = ()
    judge: JudgeConfig = JudgeConfig()
    log: LogConfig = LogConfig()
    home: str | None = None
    origins: Mapping[str, str] = field(default_factory=dict)


def home(config: Config | None = None) -> Path:
    """Where traces, weights and fitted routers live: `home`, else TURNOUT_HOME, else the platform's user folder."""
    named = (config.home if config else None) or os.environ.get("TURNOUT_HOME")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("turnout", appauthor=False))


def home_with(member: str) -> Path:
    """Turnout's home where it holds this file, else the home that the configuration names."""
    usual = home()
    return usual if (usual / member).is_file() else home(load())


def user_file() -> Path:
    """The user's own configuration file."""
    import platformdirs

    return Path(platformdirs.user_config_dir("turnout", appauthor=False)) / "turnout.toml"


def load(
    path: Path | None = None, *, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """The configuration in force. `flags` maps dotted keys to values; None values are ignored. Raises ConfigError."""
    environ = os.environ if environ is None else environ
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for file in _files(path):
        _merge(merged, read_toml(file), str(file), origins)
    for name, (key, value) in _from_environ(environ).items():
        _merge(merged, _nested(key, value), name, origins)
    for key, flag in (flags or {}).items():
        if flag is not None:
            _merge(merged, _nested(key, flag), "flag", origins)
    config = build(Config, merged, "")
    _check(config)
    return dataclasses.replace(config, origins={key: _origin(key, origins) for key, _ in leaves(config)})


def _origin(key: str, origins: Mapping[str, str]) -> str:
    """Where a value came from; a table of tables comes from where its last entry did."""
    inside = [source for name, source in origins.items() if name.startswith(f"{key}.")]
    return origins.get(key) or (inside[-1] if inside else "default")


def read_toml(file: Path) -> dict[str, Any]:
    """A parsed file; errors name it and the line."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}") from error


def leaves(config: Config) -> list[tuple[str, Any]]:
    """Every dotted key and its value, in the order of declaration; `experts.ID.field` for the servers."""
    found: list[tuple[str, Any]] = []
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if entry.name == "origins":
            continue
        if dataclasses.is_dataclass(value):
            found += [(f"{entry.name}.{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value)]
        else:
            found.append((entry.name, value))
    return found


def build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """A dataclass from a table, every key known and every value of the declared type. Raises ConfigError."""
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls) if f.name != "origins"]  # type: ignore[arg-type]
    made: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"unknown key `{where}{key}`{did_you_mean(key, known)} allowed: {', '.join(known)}")
        made[key] = _convert(hints[key], value, f"{where}{key}")
    try:
        return cls(**made)
    except TypeError as error:
        missing = [
            f.name
            for f in dataclasses.fields(cls)  # type: ignore[arg-type]
            if f.name not in made and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        raise ConfigError(f"`{where.rstrip('.') or 'the file'}` lacks {', '.join(missing)}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"`{where}` must be a table, got {value!r}")
        return build(typing.cast("type[Any]", hint), value, f"{where}.")
    if origin in (types.UnionType, typing.Union):
        (inner,) = (arg for arg in args if arg is not type(None))
        return None if value is None else _convert(inner, value, where)
    if origin is Literal:
        if value not in args:
            near = did_you_mean(str(value), args)
            raise ConfigError(f"`{where}` must be one of {', '.join(args)}, got {value!r}{near.rstrip(';')}")
        return value
    if origin is tuple:
        return _convert_list(args[0], value, where)
    if len(args) == 2 and dataclasses.is_dataclass(args[1]):
        return _convert_tables(args[1], value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = Mapping if origin is not None else hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"`{where}` must be {getattr(wanted, '__name__', wanted)}, got {value!r}")
    return value


def _convert_tables(inner: Any, value: Any, where: str) -> dict[str, Any]:
    """A table of tables, each with a name of its own."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"`{where}` must be a table, got {value!r}")
    return {name: _convert(inner, item, f"{where}.{name}") for name, item in value.items()}


def _convert_list(inner: Any, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"`{where}` must be a list, got {value!r}")
    return tuple(_convert(inner, item, f"{where}[{i}]") for i, item in enumerate(value))


def _check(config: Config) -> None:
    ids = [expert.id for expert in config.experts]
    for twice in {i for i in ids if ids.count(i) > 1}:
        raise ConfigError(f"`experts` has two entries with the id {twice!r}; ids must be unique")
    for expert in config.experts:
        if not expert.base_url.startswith(("http://", "https://")):
            raise ConfigError(f"`experts` {expert.id!r}: base_url must start with http:// or https://")
        for feature in set(expert.features) - set(FEATURES):
            near = did_you_mean(feature, FEATURES)
            raise ConfigError(f"`experts` {expert.id!r}: unknown feature {feature!r}{near} allowed: {FEATURES}")
    _check_judge(config.judge)
    for name in ("slots", "context", "answer"):
        if (given := getattr(config.embedded, name)) < 1:
            raise ConfigError(f"`embedded.{name}` must be at least 1, got {given}")
    if not 0 <= config.router.explore <= 1:
        raise ConfigError(f"`router.explore` must be in [0, 1], got {config.router.explore}")
    check(config.router.signals, config.router.rules)
    if not 0 <= config.gateway.port <= 65535:
        raise ConfigError(f"`gateway.port` must be in [0, 65535], got {config.gateway.port}")


def _check_judge(judge: JudgeConfig) -> None:
    if judge.base_url is None:
        own = [name for name in ("model", "key_env") if getattr(judge, name) is not None]
        if own:
            raise ConfigError(f"`judge.{own[0]}` belongs to a server of the judge's own, which needs `judge.base_url`")
    elif judge.expert is not None:
        raise ConfigError(f"`judge` takes `expert` or `base_url`, got both: {judge.expert!r} and {judge.base_url!r}")
    elif not judge.base_url.startswith(("http://", "https://")):
        raise ConfigError(f"`judge.base_url` must start with http:// or https://, got {judge.base_url!r}")
    if judge.max_tokens < 1:
        raise ConfigError(f"`judge.max_tokens` must be at least 1, got {judge.max_tokens}")


def _files(path: Path | None) -> list[Path]:
    if path is not None and not path.is_file():
        raise ConfigError(f"no such file: {path}")
    candidates = [user_file(), path or Path("turnout.toml")]
    return [file for file in candidates if file.is_file()]


def _from_environ(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    scalars = {f"TURNOUT_{key.replace('.', '_').upper()}": key for key, _ in leaves(Config()) if key != "experts"}
    return {name: (key, _parse(environ[name])) for name, key in scalars.items() if name in environ}


def _parse(text: str) -> Any:
    """An environment variable's text as a TOML value; a word without quotes is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _nested(key: str, value: object) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _merge(into: dict[str, Any], new: Mapping[str, Any], source: str, origins: dict[str, str], where: str = "") -> None:
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            _merge(into.setdefault(key, {}), value, source, origins, f"{where}{key}.")
        else:
            into[key] = value
            origins[f"{where}{key}"] = source
