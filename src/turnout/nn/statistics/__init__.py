"""Routing statistics with their i.i.d. controls."""
