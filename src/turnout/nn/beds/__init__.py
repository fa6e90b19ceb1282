"""Test beds: small models and data on which presets are measured. Nothing is shipped: texts come from the user's folder
or from Python's own standard library."""
