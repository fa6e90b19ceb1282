from __future__ import annotations

from dataclasses import dataclass

import pytest

from turnout.cli import main


@dataclass(frozen=True)
class Command:
    """The command as a user runs it."""

    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: object) -> str:
        """What it prints; it must succeed."""
        status, out, err = self._main(arguments)
        assert status == 0, err
        return out

    def fail(self, *arguments: object) -> tuple[int, str]:
        """Its exit status and what it says on stderr."""
        status, _, err = self._main(arguments)
        return status, err

    def _main(self, arguments: tuple[object, ...]) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        assert isinstance(ended.value.code, int)
        captured = self.capsys.readouterr()
        return ended.value.code, captured.out, captured.err


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)
