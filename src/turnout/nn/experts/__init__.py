"""Pools of experts of one kind. One file, one class."""
