"""Combiners: one output per token of its experts' outputs, or of their weights. One file, one class."""
