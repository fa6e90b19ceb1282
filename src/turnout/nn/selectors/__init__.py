"""Selectors: how many experts a token gets, and which. One file, one class."""
