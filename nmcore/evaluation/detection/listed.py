"""Forms in which a detector lists what it found: boxes beside scores and classes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from nmcore.evaluation.detection.boxes import Boxes
from nmcore.evaluation.detection.head import (
    MOST_QUERIES,
    SLACK,
    Decoder,
    Head,
    background,
    found,
    from_centres,
    probabilities_from,
    sigmoid,
)
from nmcore.evaluation.outputs import Outputs
from nmcore.group import Array


def ssd(head: Head) -> Decoder | None:
    """Boxes (n, m, 4), scores (n, m) and classes (n, m): TensorFlow's, TFLite's, torchvision's.

    One input's may also be (m, 4), (m,) and (m,), as many as are found.
    """
    places = [head.named(*words) for words in (("box",), ("score",), ("class", "label"))]
    if None in places or len(set(places)) < 3:
        places = _ssd_by_shapes(head)
    if not places:
        return None
    box, score, label = (int(place) for place in places if place is not None)

    def decode(outputs: Outputs) -> list[Boxes] | None:
        parts = [outputs[place] if place < len(outputs) else None for place in (box, score, label)]
        arrays = [part for part in parts if part is not None]
        if len(arrays) < 3:
            return None
        every = [_triple(*map(np.asarray, row)) for row in zip(*arrays, strict=True)]
        known = [boxes for boxes in every if boxes is not None]
        return known if len(known) == len(every) else None

    return None if decode(head.outputs) is None else decode


def _triple(corners: Array, scores: Array, classes: Array) -> Boxes | None:
    """The boxes of one input; None where the counts differ."""
    if corners.size != 4 * scores.size or scores.size != classes.size:
        return None
    return Boxes(
        corners.astype(np.float64).reshape(-1, 4),
        scores.astype(np.float64).ravel(),
        np.rint(classes.astype(np.float64)).astype(np.int64).ravel(),
    ).certain()


def _ssd_by_shapes(head: Head) -> list[int | None]:
    """Boxes, scores and classes by their shapes; of two rows of numbers the whole are classes."""
    for box in head.floats(3, 4):
        count = head.array(box).shape[1]
        rows = [place for place in head.numbers(2) if head.array(place).shape[1] == count > 1]
        if len(rows) == 2:
            rows.sort(key=lambda place: are_whole(head.array(place)))
            if are_whole(head.array(rows[1])) and not are_whole(head.array(rows[0])):
                return [box, *rows]
    return []


def are_whole(numbers: Array) -> bool:
    """Whether numbers are counts, though they are stored as floats."""
    return bool(np.array_equal(numbers, np.rint(numbers)))


def detr(head: Head) -> Decoder | None:
    """Logits (n, queries, c) and boxes (n, queries, 4) from 0 to 1, as centres: DETR and its kin.

    Where a last class wins most queries it is "no object", and the logits go through a softmax;
    else through a sigmoid.
    """
    for box in head.floats(3, 4):
        for logit in head.floats(3):
            boxes, rows = head.array(box), head.array(logit)
            if logit == box or rows.shape[1] != boxes.shape[1] or rows.shape[-1] < 2:
                continue
            if not rows.size:
                continue
            if not head.told and rows.shape[1] > MOST_QUERIES:
                continue
            inside = boxes.min() >= -SLACK and boxes.max() <= 1 + SLACK
            if inside and rows.min() < -SLACK:
                rest = rows.argmax(axis=-1) == rows.shape[-1] - 1
                return _detr(box, logit, softmax=bool(rest.mean() > 0.5))
    return None


def _detr(box: int, logit: int, *, softmax: bool) -> Decoder:
    def decode(outputs: Outputs) -> list[Boxes]:
        boxes, rows = outputs[box], outputs[logit]
        assert boxes is not None
        assert rows is not None
        if softmax:
            powers = np.exp(rows.astype(np.float64) - rows.max(axis=-1, keepdims=True))
            scores = (powers / powers.sum(axis=-1, keepdims=True))[..., :-1]
        else:
            scores = sigmoid(rows)
        return found(from_centres(boxes), scores, suppress=False)

    return decode


def corners(head: Head) -> Decoder | None:
    """Corners (n, m, 4) and scores (n, m, c), named so: YOLOv4's export, light face detectors."""
    for box, score in _named_or_told(head):
        boxes, rows = _places(head.outputs[box], 4), head.outputs[score]
        if rows is None or rows.ndim != 3 or boxes is None or boxes.shape[:2] != rows.shape[:2]:
            continue
        if rows.size and probabilities_from(rows) == rows.shape[-1]:
            return _corners(box, score, background(rows))
    return None


def _named_or_told(head: Head) -> Iterator[tuple[int, int]]:
    """Places of boxes and of scores: by their names, and any where a user says that there are."""
    box, score = head.named("box"), head.named("score", "conf", "prob")
    if box is not None and score is not None and box != score:
        yield box, score
    if head.told:
        yield from permutations(range(len(head.outputs)), 2)


def _corners(box: int, score: int, ground: int | None) -> Decoder:
    """What reads corners and scores, of which one class may be the background."""

    def decode(outputs: Outputs) -> list[Boxes]:
        boxes, rows = outputs[box], outputs[score]
        assert boxes is not None
        assert rows is not None
        placed = _places(boxes, 4)
        assert placed is not None
        return found(placed, rows if ground is None else np.delete(rows, ground, axis=-1))

    return decode


def _places(output: Array | None, last: int) -> Array | None:
    """An output (n, m, last), maybe with an axis of 1 between; None for another."""
    if output is None or output.ndim not in (3, 4) or output.shape[-1] != last:
        return None
    return output.reshape(len(output), -1, last)


def end_to_end(head: Head) -> Decoder | None:
    """Corners, score and class (n, m, 6), without doubles: YOLOv10, exports with suppression."""
    for place in range(len(head.outputs)):
        rows = _sixes(head.outputs[place])
        if rows and (head.told or (head.picture is not None and all(map(_are_boxes, rows)))):
            return _end_to_end(place)
    return None


def _sixes(output: Array | None) -> list[Array]:
    """The numbers (k, 6) of each input; empty where an output holds something else."""
    rows = [] if output is None else [np.asarray(row) for row in output]
    fit = all(row.ndim == 2 and row.shape[1] == 6 and row.dtype.kind == "f" for row in rows)
    return rows if fit else []


def _are_boxes(rows: Array) -> bool:
    """Whether numbers (k, 6) may be corners, score and class."""
    scores = rows[:, 4]
    return (
        len(rows) <= MOST_QUERIES
        and are_whole(rows[:, 5])
        and scores.min(initial=0) >= -SLACK
        and scores.max(initial=0) <= 1 + SLACK
    )


def _end_to_end(place: int) -> Decoder:
    def decode(outputs: Outputs) -> list[Boxes] | None:
        found = []
        for row in _sixes(outputs[place] if place < len(outputs) else None):
            numbers = np.nan_to_num(row.astype(np.float64), posinf=0, neginf=0)
            classes = np.rint(numbers[:, 5]).astype(np.int64)
            found.append(Boxes(numbers[:, :4], numbers[:, 4], classes).certain())
        return found or None

    return decode
