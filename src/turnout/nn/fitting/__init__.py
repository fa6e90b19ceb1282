"""Estimators that torch fits and numpy evaluates: each file trains, and returns arrays."""
