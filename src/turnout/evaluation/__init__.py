"""How well a router does, beside the baselines it must beat: metrics, baselines, protocols, datasets and the report."""
