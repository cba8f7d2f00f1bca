"""Which ids outputs still choose, a word or class at each position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nmcore.evaluation.metrics.base import Loss, Metric, least_variance, mean_of
from nmcore.evaluation.outputs import Batch, Outputs
from nmcore.group import Array


@dataclass(eq=False)
class Ids(Metric):
    """Percent of positions whose best id is the same, and of inputs of which all ids are.

    The best path takes the id with the highest score at each position of the first floating-point
    output (n, positions, ids), as language models and taggers give; positions of padding count
    nowhere. Each position counts alike for ``ids``. See ``ctc`` for recognisers that repeat ids.

    Examples
    --------
    >>> ids = Ids()
    >>> one, other = (np.eye(4)[[path]] for path in ([0, 1, 3, 2], [0, 1, 2, 2]))
    >>> ids.add(Batch([one], [other], None, np.arange(1)))
    >>> ids.values()
    {'ids': 75.0, 'paths': 0.0}
    """

    same: list[NDArray[np.float64]] = field(default_factory=list)
    counted: list[NDArray[np.float64]] = field(default_factory=list)

    needs: ClassVar[str] = "a floating-point output (n, positions, ids)"

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        one, other = _scores(batch.original), _scores(batch.outputs)
        if one is None or other is None or one.shape != other.shape:
            return
        counts = np.ones(one.shape[:2], bool)
        if batch.counts is not None and batch.counts.shape == counts.shape:
            counts = batch.counts
        # No score that is not a number is the best one.
        known = np.isfinite(other).all(axis=2)
        same = (one.argmax(axis=2) == other.argmax(axis=2)) & known & counts
        filled = counts.any(axis=1)
        self.same.append(same.sum(axis=1, dtype=np.float64)[filled])
        self.counted.append(counts.sum(axis=1, dtype=np.float64)[filled])

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        positions = sum(float(part.sum()) for part in self.counted)
        if not positions:
            return {"ids": None, "paths": None}
        whole = mean_of(
            [(s == c).astype(np.float64) for s, c in zip(self.same, self.counted, strict=True)]
        )
        assert whole is not None
        share = sum(float(part.sum()) for part in self.same) / positions
        return {"ids": 100 * share, "paths": 100 * whole}

    def loss(self, original: Metric) -> Loss | None:
        """Percent of the ids of an input, the mean over inputs."""
        lost = [1 - s / c for s, c in zip(self.same, self.counted, strict=True)]
        return Loss.of_parts("ids", "ids as the original's", lost, least_variance(lost))


def _scores(outputs: Outputs) -> Array | None:
    """The scores of each id at each position."""
    for output in outputs:
        if output is None or output.dtype.kind != "f" or output.ndim != 3:
            continue
        if output.shape[2] > 1:
            return output
    return None
