"""Published systems as presets: one file each, composing registered parts, with its claim and the way to measure it."""

from turnout.systems.base import System

__all__ = ["System"]
