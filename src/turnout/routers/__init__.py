"""Routers: signals, estimates, policy, costs and guard as one object. Fit it, bind it to a pool, ask it, explain it."""

from turnout.routers.bound import Bound
from turnout.routers.guard import Guard
from turnout.routers.router import Router, shipped_path

__all__ = ["Bound", "Guard", "Router", "shipped_path"]
