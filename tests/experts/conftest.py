"""The smallest model, really fetched and really running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from turnout import models
from turnout.config import Config, EmbeddedConfig, home
from turnout.experts import pool
from turnout.experts.local import LocalProcess
from turnout.models.weights import is_offline

SMALLEST = "smollm2-135m"


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of the tests' own over the machine's weights, so that they are downloaded once per machine."""
    if is_offline() and models.missing([SMALLEST]):
        pytest.skip("TURNOUT_OFFLINE is set and the smallest model is not here")
    models.pull(SMALLEST)
    folder = tmp_path_factory.mktemp("home")
    (folder / "models").symlink_to(home() / "models", target_is_directory=True)
    return folder


@pytest.fixture(scope="session")
def small_config(small_home: Path) -> Config:
    return Config(
        home=str(small_home), embedded=EmbeddedConfig(models=(SMALLEST,), slots=2, threads=1, context=1024, answer=40)
    )


@pytest.fixture(scope="module")
def process(small_config: Config) -> Iterator[LocalProcess]:
    started = pool.start_local(small_config)
    yield started
    started.close()
