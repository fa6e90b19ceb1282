"""Calibrators: a monotone map from predicted to expected score. One method, one file."""
