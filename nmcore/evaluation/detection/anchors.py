"""Where the cells and anchors of detectors lie, by the size of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from nmcore.evaluation.detection.boxes import Numbers

# The strides of the levels that heads of detectors have.
STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
# RetinaFace: stride, and the sides of the anchors of each cell.
RETINAFACE = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
# FaceBoxes: the same, with how many anchors of each side lie side by side along a cell.
FACEBOXES = ((32, ((32, 4), (64, 2), (128, 1))), (64, ((256, 1),)), (128, ((512, 1),)))


def cells(picture: Sequence[int], stride: int) -> tuple[int, int]:
    """How many cells of a stride a picture (height, width) has, down and across."""
    return math.ceil(picture[0] / stride), math.ceil(picture[1] / stride)


def count(picture: Sequence[int], strides: Sequence[int]) -> int:
    """How many cells there are on all levels.

    >>> count((640, 640), (8, 16, 32))
    8400
    """
    return sum(math.prod(cells(picture, stride)) for stride in strides)


def strides_of(picture: Sequence[int] | None, places: int, each: int = 1) -> Sequence[int] | None:
    """The strides with which a picture has so many places, some of them in each cell.

    >>> strides_of((640, 640), 25200, 3), strides_of((640, 640), 8000)
    ((8, 16, 32), None)
    """
    if picture is None:
        return None
    return next((found for found in STRIDES if places == each * count(picture, found)), None)


def grid(picture: Sequence[int], stride: int, each: int = 1) -> Numbers:
    """The upper left corners of the cells of a level, (cells * each, 2), row by row."""
    down, across = cells(picture, stride)
    y, x = np.mgrid[:down, :across]
    return np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2) * float(stride), each, axis=0)


def retinaface(picture: Sequence[int]) -> Numbers:
    """The anchors of RetinaFace as centres and sizes, shape (m, 4).

    References
    ----------
    J. Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019; the sides
    are those of its usual implementation with a MobileNet.
    """
    found = []
    for stride, sides in RETINAFACE:
        centres = grid(picture, stride, len(sides)) + stride / 2
        size = np.tile(np.array(sides, float), len(centres) // len(sides))
        found.append(np.column_stack([centres, size, size]))
    return np.concatenate(found)


def faceboxes(picture: Sequence[int]) -> Numbers:
    """The anchors of FaceBoxes, those of small sides densified, as centres and sizes (m, 4).

    References
    ----------
    S. Zhang et al., "FaceBoxes: A CPU Real-time Face Detector with High Accuracy", 2017.
    """
    found = []
    for stride, sides in FACEBOXES:
        offsets = []
        for side, dense in sides:
            steps = np.arange(dense) / dense + (0.5 if dense == 1 else 0)
            offsets += [(x * stride, y * stride, side, side) for y, x in product(steps, steps)]
        corners = grid(picture, stride)
        placed = np.zeros((len(corners), len(offsets), 4)) + np.array(offsets)
        placed[..., :2] += corners[:, None]
        found.append(placed.reshape(-1, 4))
    return np.concatenate(found)
