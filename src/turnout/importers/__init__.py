"""Importers: one file per published source of outcomes; the file's name is the registered name.

Each turns a source's own format into an `OutcomeLog` and says what was lost on the way. Add one by adding a file.
"""

from turnout.importers._formats import detect, load
from turnout.importers.base import Importer, ImportReport

__all__ = ["ImportReport", "Importer", "detect", "load"]
