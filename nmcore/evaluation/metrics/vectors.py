"""How near vectors are to those of the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from nmcore.evaluation.metrics.base import Loss, Metric
from nmcore.evaluation.outputs import Batch
from nmcore.group import Array

# Nearest neighbours are looked for among so many inputs at most, and for so many at a time.
NEIGHBOURS, _BLOCK = 5_000, 512
# Below this mean cosine vectors are others.
LOST_COSINE = 0.5


@dataclass(eq=False)
class Cosine(Metric):
    """How alike the vectors are that inputs become, and whether they keep their neighbours.

    ``cosine`` is the mean cosine of the vector of the original and that of the result, from -1 to
    1, and 1 where both are zero; ``neighbours`` the percent of inputs whose nearest other input, by
    the cosine of their vectors, is the same for both models. For the vectors see
    :meth:`nmcore.evaluation.outputs.Batch.vectors`.

    Examples
    --------
    >>> cosine = Cosine()
    >>> original = [np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])]
    >>> cosine.add(Batch(original, [original[0] * 2], None, np.arange(3)))
    >>> {name: round(value, 3) for name, value in cosine.values().items()}
    {'cosine': 1.0, 'neighbours': 100.0}
    """

    original: list[Array] = field(default_factory=list)
    found: list[Array] = field(default_factory=list)
    lost: list[Array] = field(default_factory=list)
    total: float = 0.0
    n: int = 0
    kept: int = 0

    needs: ClassVar[str] = "a floating-point output of rank 2 or 3"
    relative: ClassVar[bool] = True

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        one, other = batch.vectors(batch.original), batch.vectors(batch.outputs)
        if one is None or other is None or one.shape != other.shape:
            return
        # Two vectors of zeros have no angle, and are the same.
        alike = ~(one.any(axis=1) | other.any(axis=1))
        one, other = _normalised(one), _normalised(other)
        cosines = np.where(alike, 1.0, (one * other).sum(axis=1))
        self.total += float(cosines.sum())
        self.lost.append(1 - cosines)
        self.n += len(one)
        if self.kept < NEIGHBOURS:
            self.original.append(one.astype(np.float32))
            self.found.append(other.astype(np.float32))
            self.kept += len(one)

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        if not self.n:
            return {"cosine": None, "neighbours": None}
        return {"cosine": self.total / self.n, "neighbours": self._kept_neighbours()}

    def loss(self, original: Metric) -> Loss | None:
        """Hundredths of the cosine."""
        what = "cosine to the original's vectors, in hundredths,"
        return Loss.of_parts("cosine", what, self.lost, 0.0)

    @property
    def was_told(self) -> bool:
        """Whether there were vectors; of fewer than 3 nothing is told of neighbours."""
        return self.n > 0

    def told(self) -> str | None:
        """The mean cosine."""
        if not self.is_lost:
            return None
        return f"the cosine to the original's vectors is {self.total / self.n:.2f}"

    @property
    def is_lost(self) -> bool:
        """Whether it is below :data:`LOST_COSINE`."""
        return self.n > 0 and self.total / self.n < LOST_COSINE

    def _kept_neighbours(self) -> float | None:
        """Percent of the inputs; of two there is nothing to tell."""
        one, other = (np.concatenate(each)[:NEIGHBOURS] for each in (self.original, self.found))
        if len(one) < 3:
            return None
        same = sum(
            int(np.count_nonzero(_nearest(one, start) == _nearest(other, start)))
            for start in range(0, len(one), _BLOCK)
        )
        return 100 * same / len(one)


def _normalised(vectors: Array) -> Array:
    vectors = np.nan_to_num(vectors.astype(np.float64), posinf=0, neginf=0)
    # First by the largest number, whose square may be none that can be held.
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    vectors = vectors / np.where(largest, largest, 1)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms, norms, 1))


def _nearest(vectors: Array, start: int) -> Array:
    """The nearest other vector of some, from ``start`` on."""
    rows = np.arange(start, min(start + _BLOCK, len(vectors)))
    cosines = vectors[rows] @ vectors.T
    cosines[np.arange(len(rows)), rows] = -2
    return np.asarray(cosines.argmax(axis=1))
