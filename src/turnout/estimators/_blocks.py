"""Dense signals side by side, centred, each block scaled to unit mean squared column.

Shape letters: N queries, D columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from turnout.estimators._cells import dense
from turnout.features import FeatureMap, Floats


def raw_block(features: FeatureMap, names: Sequence[str]) -> Floats:
    """The named dense signals in one (N, D) float32 array; raises TypeError for a sparse one."""
    if len(names) == 1:
        return dense(features[names[0]], names[0])
    return np.concatenate([dense(features[name], name) for name in names], axis=1)


def scaling(features: FeatureMap, names: Sequence[str]) -> tuple[Floats, Floats]:
    """Mean and factor per column, each (D,) float32; a block keeps the proportions between its columns.

    >>> mean_D, factor_D = scaling({"x": np.array([[0.0, 1.0], [4.0, 5.0]])}, ["x"])
    >>> mean_D.tolist(), factor_D.tolist()
    ([2.0, 3.0], [0.5, 0.5])
    """
    means, factors = [], []
    for name in names:
        block_ND = dense(features[name], name).astype(np.float64)
        variance = float(block_ND.var(axis=0).mean())
        means.append(block_ND.mean(axis=0))
        factors.append(np.full(block_ND.shape[1], variance**-0.5 if variance > 1e-12 else 0.0))
    return np.concatenate(means).astype(np.float32), np.concatenate(factors).astype(np.float32)
