"""The checks behind `turnout.nn.testing`, a module per kind and one for all."""
