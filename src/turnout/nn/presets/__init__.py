"""Published systems that route inside a network, as presets; listed by `turnout systems` with level `in-model`."""
