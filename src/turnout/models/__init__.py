"""Weights of the models that Turnout runs itself: a catalogue, and a store that fetches, checks and keeps them."""

from turnout.models.catalogue import CATALOGUE, Model, Part, get
from turnout.models.weights import Progress, missing, path, pull, remove

__all__ = ["CATALOGUE", "Model", "Part", "Progress", "get", "missing", "path", "pull", "remove"]
