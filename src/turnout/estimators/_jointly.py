"""Fitted linear models, asked together: one product for all their dense columns, one look-up in each sparse table.

Shape letters: N queries, M models, E experts, D dense columns of all signals, S columns of a sparse one, K principal
directions of all models, V leverages of a model (one that serves all experts, else one each).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from turnout.estimators._linear import side_by_side
from turnout.features import FeatureMap, Floats, Sparse

Singles = NDArray[np.float32]


class Part(NamedTuple):
    """One model on raw columns: its signals, weights and level of the predictors, directions, and inverse variances.

    Leverage is |scaled x|² at the inverse of the tail, and along the K directions, the constant last, what theirs
    differ from that by. `sparse` holds each sparse signal's weights (S, E) and inverses (S, V).
    """

    dense: tuple[str, ...]
    mean_D: Floats
    weights_DE: Floats
    level_E: Floats
    turned_DK: Floats
    shift_K: Floats
    inverse_KV: Floats
    inverse_DV: Floats
    noise_E: Floats
    sparse: Mapping[str, tuple[Floats, Floats]]


class Table(NamedTuple):
    """A sparse signal's rows for the models that read it: `weights` columns of weights, then their inverses.

    `models` are a slice where they stand side by side, which is several times faster to add to.
    """

    signal: str
    models: slice | list[int]
    weights: int
    rows_SF: Singles


@dataclass(frozen=True, slots=True)
class Jointly:
    """M models fitted on the same queries and experts, so that a column has one mean for all of them.

    Columns of `matrix_DF`: the experts' predictors, model by model, then the models' directions.
    """

    dense: tuple[str, ...]
    mean_D: Singles
    matrix_DF: Singles
    offset_F: Singles
    inverse_KX: Singles  # X = M · V
    inverse_DX: Singles
    noise_ME: Singles
    tables: tuple[Table, ...]

    @classmethod
    def of(cls, parts: Sequence[Part], features: FeatureMap) -> Jointly:
        """The models that bring these parts, for features of these widths."""
        dense = tuple(dict.fromkeys(name for part in parts for name in part.dense))
        ends = np.cumsum([0, *(features[name].shape[1] for name in dense)])
        at = {name: np.arange(a, b) for name, a, b in zip(dense, ends[:-1], ends[1:], strict=True)}
        place = [np.concatenate([np.zeros(0, np.intp), *(at[name] for name in part.dense)]) for part in parts]
        mean_D = np.zeros(ends[-1], np.float32)
        for part, place_D in zip(parts, place, strict=True):
            mean_D[place_D] = part.mean_D

        def spread(blocks: Sequence[Floats]) -> list[Floats]:
            """Each model's rows in their places among all columns, 0 elsewhere."""
            out: list[Floats] = [np.zeros((len(mean_D), block_DX.shape[1])) for block_DX in blocks]
            for out_DX, block_DX, place_D in zip(out, blocks, place, strict=True):
                out_DX[place_D] = block_DX
            return out

        weights, directions = spread([part.weights_DE for part in parts]), spread([part.turned_DK for part in parts])
        return cls(
            dense=dense,
            mean_D=mean_D,
            matrix_DF=np.hstack([*weights, *directions]).astype(np.float32),
            offset_F=np.hstack([*(p.level_E for p in parts), *(p.shift_K for p in parts)]).astype(np.float32),
            inverse_KX=_diagonal([part.inverse_KV for part in parts]),
            inverse_DX=np.hstack(spread([part.inverse_DV for part in parts])).astype(np.float32),
            noise_ME=np.stack([part.noise_E for part in parts]).astype(np.float32),
            tables=tuple(_table(name, parts) for name in dict.fromkeys(n for part in parts for n in part.sparse)),
        )

    def linear(self, features: FeatureMap) -> tuple[Floats, Floats]:
        """Every model's linear predictor and its standard error, both (N, M, E), float32."""
        models, experts = self.noise_ME.shape
        away_ND = self._away(features)
        rows, leverages = len(away_ND), self.inverse_KX.shape[1] // models
        image_NF = away_ND @ self.matrix_DF
        image_NF += self.offset_F
        predictor_NME = image_NF[:, : models * experts].reshape(rows, models, experts)
        along_NK = image_NF[:, models * experts :]
        along_NK *= along_NK
        away_ND *= away_ND
        variance_NX = along_NK @ self.inverse_KX
        variance_NX += away_ND @ self.inverse_DX
        variance_NMV = variance_NX.reshape(rows, models, leverages)
        for signal, which, weights, rows_SF in self.tables:
            moments_N2F, readers = _moments(features, signal, rows_SF), weights // experts
            predictor_NME[:, which] += moments_N2F[:, 0, :weights].reshape(rows, readers, experts)
            variance_NMV[:, which] += moments_N2F[:, 1, weights:].reshape(rows, readers, leverages)
        np.maximum(variance_NMV, 0.0, out=variance_NMV)  # rounding alone makes it negative
        return predictor_NME, np.sqrt(variance_NMV * self.noise_ME)

    def predictor(self, features: FeatureMap) -> Floats:
        """Every model's linear predictor alone, (N, M, E), float32, for whoever has no use for standard errors."""
        models, experts = self.noise_ME.shape
        image_NF = self._away(features) @ self.matrix_DF[:, : models * experts]
        image_NF += self.offset_F[: models * experts]
        predictor_NME = image_NF.reshape(len(image_NF), models, experts)
        for signal, which, weights, rows_SF in self.tables:
            moments_NF = _moments(features, signal, rows_SF)[:, 0, :weights]
            predictor_NME[:, which] += moments_NF.reshape(len(image_NF), weights // experts, experts)
        return predictor_NME

    def _away(self, features: FeatureMap) -> Floats:
        """Centred dense columns, (N, D)."""
        first = self.dense[0] if self.dense else self.tables[0].signal
        return side_by_side(features, self.dense, len(features[first])) - self.mean_D


def _moments(features: FeatureMap, signal: str, rows_SF: Singles) -> Floats:
    block = features[signal]
    assert isinstance(block, Sparse)
    return block.moments(rows_SF)


def _table(signal: str, parts: Sequence[Part]) -> Table:
    readers = [m for m, part in enumerate(parts) if signal in part.sparse]
    weights, inverses = zip(*(parts[m].sparse[signal] for m in readers), strict=True)
    rows_SF = np.hstack([*weights, *inverses]).astype(np.float32)
    adjoining = readers[-1] - readers[0] < len(readers)
    models = slice(readers[0], readers[-1] + 1) if adjoining else readers
    return Table(signal, models, sum(w_SE.shape[1] for w_SE in weights), rows_SF)


def _diagonal(blocks: Sequence[Floats]) -> Singles:
    """The blocks along a diagonal, 0 elsewhere; SciPy, which has this, is not imported to serve."""
    out_KX = np.zeros(np.sum([block_KV.shape for block_KV in blocks], axis=0), np.float32)
    row, column = 0, 0
    for block_KV in blocks:
        rows, columns = block_KV.shape
        out_KX[row : row + rows, column : column + columns] = block_KV
        row, column = row + rows, column + columns
    return out_KX
