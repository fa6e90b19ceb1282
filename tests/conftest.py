"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# how long an example takes says something about the machine's load, nothing about the code
settings.register_profile("untimed", parent=settings(), deadline=None)
settings.load_profile("untimed")


def data_folder() -> Path | None:
    """The folder of real outcome tables: TURNOUT_DATA, else `../shared/data` beside the project."""
    named = os.environ.get("TURNOUT_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = data_folder()
    if folder is None:
        pytest.skip("no folder of real outcome tables; name one with TURNOUT_DATA")
    return folder
