"""The guard region by region: routing where a gain was shown, the best single expert everywhere else.

Regions are nearest centres in a dense signal: clusters, or the means of logged tasks. Scores play no part in drawing
them. In each region the paired gain of the held-out choices over the best single expert is tested, one-sided, by
flipping the signs of whole groups of near-duplicates (Fisher's randomisation test); Holm's step-down procedure (1979)
keeps the chance that any region without a gain passes within `level`. Shape letters: N queries, K regions, D features,
B draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turnout.errors import ConfigError
from turnout.features import FeatureMap, Floats, Sparse
from turnout.routers.evidence import Evidence

Array = NDArray[np.float64]

LEVEL = 0.05
DRAWS = 9_999
_SUPPORT = 20  # groups of queries below which a region is not tested
_CELLS = 4_000_000  # signs held at once


@dataclass(frozen=True, eq=False)
class Regions:
    """Where regions lie, and what was found in them; `passed_K` says where the policy may choose.

    `gain_K` is the mean paired gain in utility, `p_K` its one-sided p-value before correction, `queries_K` how many
    logged queries lie there.
    """

    signal: str
    names: tuple[str, ...]
    centers_KD: NDArray[np.float32]
    level: float = LEVEL
    gain_K: Array = None  # type: ignore[assignment]  # set by `judged`
    p_K: Array = None  # type: ignore[assignment]
    queries_K: NDArray[np.int64] = None  # type: ignore[assignment]
    passed_K: NDArray[np.bool_] = None  # type: ignore[assignment]

    @classmethod
    def draw(cls, evidence: Evidence, wanted: int | str, *, level: float = LEVEL, seed: int = 0) -> Regions:
        """`wanted` clusters, or one region per logged task ("tasks"). Raises ConfigError where there is no basis."""
        dense = [name for name, values in evidence.features.items() if name and not isinstance(values, Sparse)]
        if not dense:
            raise ConfigError("regions need a dense signal, and the estimator reads none")
        signal = "embedding" if "embedding" in dense else dense[0]
        x_ND = np.asarray(evidence.features[signal], dtype=np.float32)
        if wanted == "tasks":
            if evidence.tasks is None:
                raise ConfigError("regions by task need task names, and the log has none")
            names, code_N = np.unique(np.asarray(evidence.tasks, dtype=str), return_inverse=True)
            centers_KD = np.stack([x_ND[code_N == code].mean(axis=0) for code in range(len(names))])
            return cls(signal, tuple(str(name) for name in names), centers_KD, level)
        if not isinstance(wanted, int) or isinstance(wanted, bool) or not 2 <= wanted <= len(x_ND):
            raise ConfigError(f'regions must be "tasks" or a number from 2 to the queries, {len(x_ND)}; got {wanted!r}')
        centers_KD = _clusters(x_ND, wanted, seed)
        return cls(signal, tuple(f"region {k + 1}" for k in range(len(centers_KD))), centers_KD, level)

    def of(self, features: FeatureMap) -> NDArray[np.intp]:
        """The region of each of N queries."""
        x_ND = features[self.signal]
        assert not isinstance(x_ND, Sparse)
        half_K = 0.5 * (self.centers_KD**2).sum(axis=1)
        return np.asarray((x_ND @ self.centers_KD.T - half_K).argmax(axis=1))

    def abstains(self, features: FeatureMap) -> NDArray[np.bool_]:
        """Where the best single expert serves, shape (N,)."""
        return np.asarray(~self.passed_K[self.of(features)])

    def judged(self, gain_N: Floats, evidence: Evidence, *, seed: int) -> Regions:
        """With the verdict on held-out gains in utility."""
        region_N = self.of(evidence.features)
        count = len(self.names)
        gain_K, p_K = np.zeros(count), np.ones(count)
        for k in range(count):
            inside = region_N == k
            if inside.any():
                gain_K[k] = gain_N[inside].mean()
                p_K[k] = sign_flip(gain_N[inside], evidence.groups_N[inside], seed=seed + k)
        queries_K = np.bincount(region_N, minlength=count).astype(np.int64)
        return replace(self, gain_K=gain_K, p_K=p_K, queries_K=queries_K, passed_K=holm(p_K, self.level))

    def words(self, baseline: str) -> str:
        """The verdict in plain words."""
        passed = np.flatnonzero(self.passed_K)
        where = ", ".join(f"{self.names[k]} ({self.gain_K[k]:+.3f}, {self.queries_K[k]} queries)" for k in passed)
        rule = f"by Holm's correction, family-wise error within {self.level:g}"
        if not len(passed):
            return f"no one of {len(self.names)} regions showed a gain {rule}"
        return f"routes in {len(passed)} of {len(self.names)} regions {rule}: {where}; elsewhere {baseline} is asked"

    def state(self) -> dict[str, Any]:
        """Plain values and arrays, for saving."""
        return {"signal": self.signal, "names": list(self.names), "centers": self.centers_KD, "level": self.level,
                "gain": self.gain_K.tolist(), "p": self.p_K.tolist(), "queries": self.queries_K.tolist(),
                "passed": self.passed_K.tolist()}  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Regions:
        """The inverse of `state`."""
        return cls(
            state["signal"], tuple(state["names"]), np.asarray(state["centers"], dtype=np.float32), state["level"],
            np.array(state["gain"], dtype=np.float64), np.array(state["p"], dtype=np.float64),
            np.array(state["queries"], dtype=np.int64), np.array(state["passed"], dtype=bool),
        )  # fmt: skip


def holm(p_K: Sequence[float] | Array, level: float) -> NDArray[np.bool_]:
    """Which hypotheses Holm's procedure rejects: the chance of any false rejection stays within `level`.

    >>> holm([0.01, 0.04, 0.02, 0.6], 0.05).tolist()
    [True, False, False, False]
    """
    values_K = np.asarray(p_K, dtype=np.float64)
    order_K = np.argsort(values_K, kind="stable")
    fails_K = values_K[order_K] > level / np.arange(len(values_K), 0, -1)
    rejected = int(fails_K.argmax()) if fails_K.any() else len(values_K)
    passed_K = np.zeros(len(values_K), dtype=bool)
    passed_K[order_K[:rejected]] = True
    return passed_K


def sign_flip(gain_N: Floats, groups_N: NDArray[np.integer[Any]], *, seed: int, draws: int = DRAWS) -> float:
    """One-sided p-value for a mean gain of at most zero: how often random signs of whole groups give as much.

    1 with fewer than 20 groups. The observed signs count as one of the draws, so that p is never 0.

    Limits: exact where a group's gain is as likely as its loss under the null hypothesis; a skewed gain is judged
    approximately, as by a t-test.
    """
    _, group_N = np.unique(groups_N, return_inverse=True)
    sum_G = np.bincount(group_N, weights=gain_N)
    if len(sum_G) < _SUPPORT:
        return 1.0
    sum_G = sum_G[sum_G != 0]  # a group without a difference stays so, whatever its sign
    observed = float(sum_G.sum())
    if observed <= 0:
        return 1.0
    rng, reached = np.random.default_rng(seed), 1
    block = max(1, _CELLS // len(sum_G))
    for start in range(0, draws, block):
        signs = rng.integers(0, 2, size=(min(block, draws - start), len(sum_G)), dtype=np.int8)
        reached += int(((2.0 * (signs @ sum_G) - observed) >= observed - 1e-12).sum())
    return reached / (draws + 1)


def _clusters(x_ND: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    from sklearn.cluster import KMeans

    found = KMeans(count, n_init=3, random_state=seed).fit(x_ND)
    return np.asarray(found.cluster_centers_, dtype=np.float32)
