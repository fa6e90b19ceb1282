"""Dispatchers: how rows reach their experts and come back. One file, one class."""
