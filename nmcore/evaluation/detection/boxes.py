"""Boxes of one input: which overlap, which are doubles, and which two models have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

# Boxes count from this score on, and of two of one class that overlap by more than NMS_IOU the
# one with the lower score is a double, as in the detectors' own programs.
SCORE, NMS_IOU = 0.25, 0.45
# Boxes of two models are the same above this overlap.
SAME_IOU = 0.5
# So many boxes of an input are looked at, those with the highest scores.
MOST_BOXES = 3_000


@dataclass(frozen=True, eq=False)
class Boxes:
    """What a detector finds in one input.

    Attributes
    ----------
    corners : float array, shape (k, 4)
        Left, top, right and bottom, in any unit.
    scores : float array, shape (k,)
        From 0 to 1.
    classes : int array, shape (k,)
        What is in them.
    """

    corners: Numbers
    scores: Numbers
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)

    def part(self, chosen: NDArray[np.intp]) -> Boxes:
        """Some of them."""
        return Boxes(self.corners[chosen], self.scores[chosen], self.classes[chosen])

    def certain(self) -> Boxes:
        """Those with a score of at least ``SCORE``, the best first."""
        best = np.argsort(-self.scores, kind="stable")[:MOST_BOXES]
        return self.part(best[self.scores[best] >= SCORE])


def overlaps(one: Numbers, other: Numbers) -> Numbers:
    """Intersection over union of boxes (k, 4) with boxes (m, 4), shape (k, m).

    >>> overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 2], [1, 0, 3, 2]])).round(3)
    array([[1.   , 0.333]])
    """
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(each[:, 2:] - each[:, :2], 0, None).prod(axis=1) for each in (one, other)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.asarray(common / np.maximum(union, 1e-12))


def without_doubles(boxes: Boxes) -> Boxes:
    """Greedy non-maximum suppression within each class, of boxes with the best first."""
    kept: list[int] = []
    left = np.ones(len(boxes), bool)
    for place in range(len(boxes)):
        if not left[place]:
            continue
        kept.append(place)
        alike = overlaps(boxes.corners[place : place + 1], boxes.corners)[0] > NMS_IOU
        left &= ~(alike & (boxes.classes == boxes.classes[place]))
    return boxes.part(np.array(kept, np.intp))


def in_common(one: Boxes, other: Boxes) -> int:
    """How many boxes of two models are the same: of one class, and matched one to one.

    The pairs that overlap most are matched first, down to ``SAME_IOU``.

    >>> left, right = np.array([[0.0, 0, 2, 2]]), np.array([[0.1, 0, 2, 2], [0, 0, 2, 2]])
    >>> two = Boxes(right, np.ones(2), np.zeros(2, int))
    >>> in_common(Boxes(left, np.ones(1), np.zeros(1, int)), two), in_common(two, two)
    (1, 2)
    """
    overlap = overlaps(one.corners, other.corners)
    overlap[one.classes[:, None] != other.classes[None]] = 0
    pairs = np.argwhere(overlap > SAME_IOU)
    order = np.argsort(-overlap[pairs[:, 0], pairs[:, 1]], kind="stable")
    taken: tuple[set[int], set[int]] = set(), set()
    for first, second in pairs[order].tolist():
        if first not in taken[0] and second not in taken[1]:
            taken[0].add(first)
            taken[1].add(second)
    return len(taken[0])
