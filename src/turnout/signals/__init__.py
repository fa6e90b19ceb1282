"""Signals: one file each; the file's name is the registered name. Add one by adding a file."""

from turnout.signals.base import Signal

__all__ = ["Signal"]
