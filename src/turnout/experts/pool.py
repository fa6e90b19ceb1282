"""From a configuration to experts that can be called."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping

from turnout import config as configuration
from turnout import models
from turnout.config import Config, ExpertConfig
from turnout.errors import ConfigError
from turnout.experts import embedded
from turnout.experts.http import HttpClient, HttpExpert
from turnout.experts.local import LocalExpert, LocalProcess, Ready
from turnout.types import Arm, Expert, How, Limits, Price


class Pool:
    """Experts by id, in the configuration's order, and what they share. Close it when done."""

    def __init__(
        self, experts: Mapping[str, Expert], clients: tuple[HttpClient, ...] = (), process: LocalProcess | None = None
    ) -> None:
        self.experts = dict(experts)
        self.process = process
        self._clients = clients

    @property
    def arms(self) -> list[Arm]:
        return [expert.arm for expert in self.experts.values()]

    def __iter__(self) -> Iterator[Expert]:
        return iter(self.experts.values())

    def __len__(self) -> int:
        return len(self.experts)

    async def aclose(self) -> None:
        """Close every connection and end the local process."""
        for client in self._clients:
            await client.aclose()
        if self.process is not None:
            await asyncio.to_thread(self.process.close)

    def close(self) -> None:
        """End the local process; for use where no event loop ever ran."""
        if self.process is not None:
            self.process.close()


def arms(config: Config) -> list[Arm]:
    """What the experts would be, without starting any. Raises ConfigError where two have one id."""
    found = embedded.arms(config.embedded.models, config.embedded.context) + [arm_of(e) for e in config.experts]
    ids = [arm.id for arm in found]
    for twice in sorted({i for i in ids if ids.count(i) > 1}):
        raise ConfigError(f"two experts have the id {twice!r}; ids must be unique, embedded models included")
    return found


def build(config: Config, *, ready: Ready | None = None) -> Pool:
    """Start the local process where embedded models are named, and make an expert for every arm.

    Blocks until the models answer; `ready` is told of each. Connections open at the first call, in its event loop.
    Raises ConfigError (a key's variable is not set), ModelError (weights are missing, or the process fails).
    """
    all_arms = {arm.id: arm for arm in arms(config)}
    remote = HttpClient(connect_s=config.gateway.connect_s)
    local = HttpClient(keepalive_s=0, proxies=False)  # llama.cpp closes connections after streams without saying so
    servers = [HttpExpert(all_arms[e.id], e.base_url, key=_key(e), client=remote) for e in config.experts]
    process = start_local(config, ready) if config.embedded.models else None
    experts: dict[str, Expert] = {expert.arm.id: expert for expert in servers}
    if process is not None:
        embedded_arms = [arm for arm in all_arms.values() if arm.id not in experts]
        experts = {arm.id: LocalExpert(arm, process, local) for arm in embedded_arms} | experts
    return Pool(experts, (remote, local), process)


def start_local(config: Config, ready: Ready | None = None) -> LocalProcess:
    """The process that serves the configured embedded models, once they answer. Raises ModelError."""
    home, names = configuration.home(config), config.embedded.models
    process = LocalProcess(
        {name: models.path(name, home) for name in names},
        contexts={name: min(config.embedded.context, models.get(name).context) for name in names},
        log=home / "logs" / "local.log",
        slots=config.embedded.slots,
        answer=config.embedded.answer,
        threads=config.embedded.threads,
    )
    process.start(ready)
    return process


def arm_of(expert: ExpertConfig) -> Arm:
    """The arm that a configured server is.

    >>> arm_of(ExpertConfig(id="big", base_url="http://h/v1", context=8192)).limits.context
    8192
    """
    return Arm(
        id=expert.id,
        card=expert.card,
        price=Price(expert.price.input, expert.price.output),
        limits=Limits(expert.context, frozenset(expert.features)),
        tags=frozenset(expert.tags),
        model=expert.model or expert.id,
        how=How("custom", expert.suffix, expert.body) if expert.suffix or expert.body else How(),
    )


def _key(expert: ExpertConfig) -> str | None:
    if expert.key_env is None:
        return None
    key = os.environ.get(expert.key_env)
    if not key:
        raise ConfigError(
            f"`experts` {expert.id!r} takes its key from the variable {expert.key_env}, which is not set; "
            f"export {expert.key_env}=…, or remove `key_env` where the server needs no key"
        )
    return key.strip()
