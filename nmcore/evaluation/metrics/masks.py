"""How alike masks are: of one object, or of a class for each pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nmcore.evaluation.forms import first_masks
from nmcore.evaluation.metrics.base import Loss, Metric, least_variance, mean_of
from nmcore.evaluation.outputs import Batch
from nmcore.group import Array

# Below this overlap, in percent, masks are others.
LOST_OVERLAP = 50.0
NEEDS = "a floating-point output of rank 4, of masks (n, classes, height, width)"


@dataclass(eq=False)
class Overlap(Metric):
    """Intersection over union of the masks of both models, in percent, the mean over inputs.

    The mask is the first output of rank 4. Of one channel it counts from 0.5 where the original's
    numbers are from 0 to 1, else from 0; of several each pixel is of the class with the highest
    score, and the overlap is the mean over the classes that either model sees in an input. Inputs
    in which neither sees anything do not count. Where a number is none, nothing overlaps.

    Examples
    --------
    >>> overlap = Overlap()
    >>> one, other = np.array([[[[0.9, 0.8, 0.0]]]]), np.array([[[[0.9, 0.1, 0.2]]]])
    >>> overlap.add(Batch([one], [other], None, np.arange(1)))
    >>> overlap.values()
    {'iou': 50.0}
    """

    threshold: float | None = None
    parts: list[NDArray[np.float64]] = field(default_factory=list)

    needs: ClassVar[str] = NEEDS

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        one, other = first_masks(batch.original), first_masks(batch.outputs)
        if one is None or other is None or one.shape != other.shape:
            return
        if self.threshold is None:
            self.threshold = 0.5 if one.min() >= 0 and one.max() <= 1 else 0.0
        each = [self._overlap(mine, his) for mine, his in zip(one, other, strict=True)]
        self.parts.append(np.array([part for part in each if part is not None], np.float64))

    def _overlap(self, one: Array, other: Array) -> float | None:
        """Of two masks (classes, height, width); None where there is nothing."""
        if not (np.isfinite(one).all() and np.isfinite(other).all()):
            return 0.0
        if len(one) == 1:
            mine, his = one[0] > self.threshold, other[0] > self.threshold
            union = np.count_nonzero(mine | his)
            return np.count_nonzero(mine & his) / union if union else None
        best = [each.argmax(axis=0).ravel() for each in (one, other)]
        counts = [np.bincount(each, minlength=len(one)) for each in best]
        common = np.bincount(best[0][best[0] == best[1]], minlength=len(one))
        either = counts[0] + counts[1] - common
        return float((common[either > 0] / either[either > 0]).mean())

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        share = mean_of(self.parts)
        return {"iou": None if share is None else 100 * share}

    def loss(self, original: Metric) -> Loss | None:
        """Percent of the overlap."""
        lost = [1 - part for part in self.parts]
        return Loss.of_parts("iou", "overlap with the original's masks", lost, least_variance(lost))

    def told(self) -> str | None:
        """The overlap, where little is left."""
        share = mean_of(self.parts)
        if share is None or not self.is_lost:
            return None
        return f"masks overlap those of the original by {100 * share:.1f} %"

    @property
    def is_lost(self) -> bool:
        """Whether it is below :data:`LOST_OVERLAP`."""
        share = mean_of(self.parts)
        return share is not None and 100 * share < LOST_OVERLAP


@dataclass(eq=False)
class AbsoluteError(Metric):
    """The mean absolute difference of masks, in the unit of their numbers: 0 to 1 mostly."""

    total: float = 0.0
    count: int = 0

    needs: ClassVar[str] = NEEDS

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        one, other = first_masks(batch.original), first_masks(batch.outputs)
        if one is None or other is None or one.shape != other.shape:
            return
        self.total += float(np.abs(other.astype(np.float64) - one).sum())
        self.count += one.size

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        known = self.count and np.isfinite(self.total)
        return {"mae": self.total / self.count if known else None}
