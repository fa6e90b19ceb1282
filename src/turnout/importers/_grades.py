"""What counts as a score: one metric of several, or for logged requests, which hold none, a field or a file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from turnout.errors import LogError
from turnout.importers import _reading
from turnout.importers._reading import Record

_IDS = ("id", "custom_id", "request_id")


class Grades:
    """The score of each logged request, looked up in a file of `{"id": …, "score": …}` or at paths in the record."""

    def __init__(self, file: str | None, paths: Sequence[str]) -> None:
        self._given = None if file is None else _read(Path(file))
        self._paths = paths
        self.found = False

    def of(self, record: Record, names: Sequence[object]) -> object:
        """The score, None where there is none; `names` are the ids that a file may use for this request."""
        if self._given is not None:
            score = next((self._given[name] for name in names if isinstance(name, str) and name in self._given), None)
        else:
            values = (_reading.at(record, path) for path in self._paths)
            score = next((value for value in values if value is not None), None)
        self.found |= score is not None
        return score

    def require(self, where: str, rows: int) -> None:
        """Raise LogError where rows were read and not one of them has a score."""
        if rows and not self.found:
            looked = "in the file of scores" if self._given is not None else f"at {', '.join(self._paths)}"
            hint = "name the field with `score=PATH`, or a file of {id, score} rows with `scores=FILE`"
            raise LogError(f"{where}: a request log says what was answered, not how well; no score {looked}; {hint}")


def chosen_metric(
    named: str | None, preferred: Sequence[str], there: Collection[str], graded: Sequence[str]
) -> str | None:
    """The first metric of those `named` (with commas), else of the `preferred`, else the only graded one, or None."""
    wanted = [name.strip() for name in named.split(",")] if named else preferred
    chosen = next((name for name in wanted if name in there), None)
    return graded[0] if chosen is None and named is None and len(graded) == 1 else chosen


def _read(file: Path) -> Mapping[str, object]:
    """Scores by id, from JSON lines or CSV. Raises LogError."""
    try:
        rows = _reading.table(file) if file.suffix.lower() in (".csv", ".parquet") else _reading.lines(file)
        scores: dict[str, object] = {}
        for where, row in rows:
            name = next((row[key] for key in _IDS if row.get(key) is not None), None)
            if name is None:
                raise LogError(f"{where}: an id is missing; one of the fields {', '.join(_IDS)} is needed")
            score = _reading.need(row, "score", where)
            if scores.setdefault(str(name), score) != score:
                raise LogError(f"{where}: a second score for {str(name)!r}; remove one of them")
    except OSError as error:
        raise LogError(f"cannot read {file}: {error.strerror or error}") from error
    return scores
