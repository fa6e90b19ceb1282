"""k-means, as the estimators that cluster queries use it. Shape letters: N queries, D columns, K clusters."""

from __future__ import annotations

import numpy as np

from turnout.features import Floats

SAMPLE, ROUNDS = 4000, 25  # rows that k-means looks at, and how often it moves its centres


def k_means(x_ND: Floats, k: int, seed: int) -> Floats:
    """Centres (K, D) float32; fewer than `k` where there are fewer distinct rows."""
    from sklearn.cluster import KMeans

    if len(x_ND) > SAMPLE:
        x_ND = x_ND[np.random.default_rng(seed).permutation(len(x_ND))[:SAMPLE]]
    shadow_N = x_ND @ np.random.default_rng(seed).normal(size=x_ND.shape[1])
    distinct = len(np.unique(shadow_N.round(6)))  # k-means cannot make more clusters than there are distinct rows
    fitted = KMeans(n_clusters=min(k, distinct), n_init=1, max_iter=ROUNDS, random_state=seed).fit(x_ND)
    return np.ascontiguousarray(fitted.cluster_centers_, dtype=np.float32)
