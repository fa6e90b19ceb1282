"""Public aids for tests: the contract battery, scripted experts, clocks."""
