"""Graders, one per file: how right a response is, given the target."""
