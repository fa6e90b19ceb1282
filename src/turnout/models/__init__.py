"""Weights of the models that Turnout runs itself: a catalogue, and a store that fetches, checks and keeps them."""

from turnout.models.catalogue import CATALOGUE, ENCODERS, Model, Part, find, get
from turnout.models.weights import Progress, missing, path, pull, remove

__all__ = ["CATALOGUE", "ENCODERS", "Model", "Part", "Progress", "find", "get", "missing", "path", "pull", "remove"]
