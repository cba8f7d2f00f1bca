"""Forms of the YOLO family: a box and scores at each cell of a grid."""

from __future__ import annotations

import numpy as np

from nmcore.evaluation.detection import anchors
from nmcore.evaluation.detection.boxes import Boxes, Numbers
from nmcore.evaluation.detection.head import (
    Decoder,
    Head,
    found,
    from_centres,
    probabilities_from,
)
from nmcore.evaluation.outputs import Outputs

# So many numbers stand before the scores.
COORDINATES = 4
# Widths of boxes below this are no pixels but logarithms of cells.
_LOGARITHM = 8


def yolov8(head: Head) -> Decoder | None:
    """Centres, sizes and scores of classes (n, 4 + c, m): YOLOv8 to YOLO11, without and with masks.

    Coefficients of masks and coordinates of points, behind the classes, are no probabilities.
    """
    for place in head.floats(3):
        output = head.array(place)
        if not head.told and anchors.strides_of(head.picture, output.shape[2]) is None:
            continue
        rows = np.moveaxis(output, 1, 2)
        classes = probabilities_from(rows[..., COORDINATES:]) if rows.shape[2] > 4 else 0
        if classes:
            return _rows_of(place, moved=True, classes=slice(4, 4 + classes))
    return None


def _rows_of(place: int, *, moved: bool, classes: slice, certainty: bool = False) -> Decoder:
    """Boxes of an output with centre, size, maybe a certainty, and scores at each place."""

    def decode(outputs: Outputs) -> list[Boxes]:
        rows = outputs[place]
        assert rows is not None
        rows = np.moveaxis(rows, 1, 2) if moved else rows
        scores = rows[..., classes]
        if certainty:
            scores = rows[..., 4:5] * scores if scores.shape[-1] else rows[..., 4:5]
        return found(from_centres(rows[..., :4]), scores)

    return decode


def yolov5(head: Head) -> Decoder | None:
    """Centres, sizes, certainty and scores of classes (n, m, 5 + c): YOLOv5, YOLOv7.

    Three anchors for each cell. Without a run of probabilities behind the certainty, as where
    points of faces follow, the certainty alone is the score.
    """
    for place in head.floats(3):
        output = head.array(place)
        if not head.told and anchors.strides_of(head.picture, output.shape[1], 3) is None:
            continue
        scores = probabilities_from(output[..., COORDINATES:]) if output.shape[2] > 4 else 0
        if scores:
            classes = slice(5, 4 + scores)
            return _rows_of(place, moved=False, classes=classes, certainty=True)
    return None


def yolox(head: Head) -> Decoder | None:
    """The same with one anchor for each cell, (n, m, 5 + c), in pixels or as YOLOX gives it.

    That is centres in cells from the upper left corner of each, and logarithms of the sizes.
    """
    for place in head.floats(3):
        output = head.array(place)
        strides = anchors.strides_of(head.picture, output.shape[1])
        if strides is None or head.picture is None or output.shape[2] < 6:
            continue
        scores = probabilities_from(output[..., COORDINATES:])
        if not scores:
            continue
        plain = _rows_of(place, moved=False, classes=slice(5, 4 + scores), certainty=True)
        if np.abs(output[..., 2:4]).max() > _LOGARITHM:
            return plain
        corner = np.concatenate([anchors.grid(head.picture, stride) for stride in strides])
        step = np.concatenate(
            [np.full((len(anchors.grid(head.picture, s)), 1), float(s)) for s in strides]
        )
        return _from_cells(place, plain, corner, step)
    return None


def _from_cells(place: int, plain: Decoder, corner: Numbers, step: Numbers) -> Decoder:
    """What reads boxes that are given by cells."""

    def decode(outputs: Outputs) -> list[Boxes] | None:
        given = outputs[place]
        assert given is not None
        rows = given.astype(np.float64)
        rows[..., :2] = rows[..., :2] * step + corner
        rows[..., 2:4] = np.exp(np.clip(rows[..., 2:4], -20, 20)) * step
        return plain([rows if each == place else other for each, other in enumerate(outputs)])

    return decode
