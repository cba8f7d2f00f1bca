"""Forms that tell how boxes lie to anchors: SCRFD, RetinaFace, FaceBoxes."""

from __future__ import annotations

import numpy as np

from nmcore.evaluation.detection import anchors
from nmcore.evaluation.detection.boxes import Boxes, Numbers
from nmcore.evaluation.detection.head import (
    SLACK,
    Decoder,
    Head,
    background,
    found,
    from_centres,
    sigmoid,
)
from nmcore.evaluation.outputs import Outputs

# The scale of offsets from anchors, as SSD and its kin have it.
VARIANCES = (0.1, 0.2)


def scrfd(head: Head) -> Decoder | None:
    """Scores (n, m, 1) and distances to the sides (n, m, 4) for each stride: SCRFD."""
    if head.picture is None:
        return None
    picture, levels = head.picture, []
    boxes = {head.array(place).shape[1]: place for place in head.floats(3, 4)}
    for place in head.floats(3, 1):
        count = head.array(place).shape[1]
        for stride, each in ((s, e) for s in (8, 16, 32, 64, 128) for e in (2, 1)):
            down, across = anchors.cells(picture, stride)
            if count in boxes and count == down * across * each:
                levels.append((place, boxes[count], stride, each))
                break
    if len(levels) < 2:
        return None
    logits = any(
        head.array(place).max() > 1 + SLACK or head.array(place).min() < -SLACK
        for place, *_ in levels
    )

    def decode(outputs: Outputs) -> list[Boxes]:
        corners, scores = [], []
        for score, box, stride, each in levels:
            sides, raw = outputs[box], outputs[score]
            assert sides is not None
            assert raw is not None
            centres = anchors.grid(picture, stride, each)
            sides = sides.astype(np.float64) * stride
            corners.append(np.concatenate([centres - sides[..., :2], centres + sides[..., 2:]], -1))
            scores.append(sigmoid(raw) if logits else raw)
        return found(np.concatenate(corners, axis=1), np.concatenate(scores, axis=1))

    return decode


def _anchored(head: Head, priors: Numbers) -> Decoder | None:
    """Offsets (n, m, 4) from anchors, and probabilities (n, m, c) whose first is background."""
    count, height, width = len(priors), *(head.picture or (1, 1))
    loc = next((p for p in head.floats(3, 4) if head.array(p).shape[1] == count), None)
    conf = next(
        (
            place
            for place in head.floats(3)
            if place != loc
            and head.array(place).shape[1] == count
            and background(head.array(place)) is not None
        ),
        None,
    )
    if loc is None or conf is None:
        return None
    scaled = priors / (width, height, width, height)
    ground = background(head.array(conf))
    assert ground is not None

    def decode(outputs: Outputs) -> list[Boxes]:
        offsets, rows = outputs[loc], outputs[conf]
        assert offsets is not None
        assert rows is not None
        offsets = offsets.astype(np.float64)
        centres = scaled[:, :2] + offsets[..., :2] * VARIANCES[0] * scaled[:, 2:]
        sizes = scaled[:, 2:] * np.exp(np.clip(offsets[..., 2:] * VARIANCES[1], -20, 20))
        corners = from_centres(np.concatenate([centres, sizes], axis=-1))
        return found(corners, np.delete(rows, ground, axis=-1))

    return decode


def retinaface(head: Head) -> Decoder | None:
    """RetinaFace: two anchors for each cell of strides 8, 16 and 32."""
    return None if head.picture is None else _anchored(head, anchors.retinaface(head.picture))


def faceboxes(head: Head) -> Decoder | None:
    """FaceBoxes: densified anchors of strides 32, 64 and 128."""
    return None if head.picture is None else _anchored(head, anchors.faceboxes(head.picture))
