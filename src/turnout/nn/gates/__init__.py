"""Gates: what scores experts for a token. One file, one class."""
