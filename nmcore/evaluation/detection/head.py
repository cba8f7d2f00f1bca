"""What a detector gives, and what forms have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nmcore.evaluation.detection.boxes import Boxes, Numbers, without_doubles
from nmcore.evaluation.outputs import Outputs
from nmcore.group import Array

# What finds the boxes of each input; None where outputs have another form.
Decoder = Callable[[Outputs], list[Boxes] | None]
# Numbers of a head that stand for probabilities may leave 0 to 1 by so much.
SLACK = 1e-3
# Detectors that find each object once give no more boxes than this an input.
MOST_QUERIES = 1_000


@dataclass(frozen=True, eq=False)
class Head:
    """What a detector gives, and what is known of it.

    Attributes
    ----------
    outputs : sequence of array, or None in place of one
        For some inputs.
    names : sequence of str
        Of the outputs, in lower case; empty where they are not known.
    picture : tuple of int, or None
        Height and width of the input, where there is one picture.
    told : bool
        Whether a user said that it has this form, so that its parts are enough.
    """

    outputs: Outputs
    names: Sequence[str] = ()
    picture: Sequence[int] | None = None
    told: bool = False

    def floats(self, rank: int, last: int | None = None) -> list[int]:
        """The places of the floating-point outputs of a rank, and with so many numbers last."""
        return [
            place
            for place in self.numbers(rank)
            if self.array(place).dtype.kind == "f" and last in (None, self.array(place).shape[-1])
        ]

    def numbers(self, rank: int) -> list[int]:
        """The places of the outputs of a rank that are numbers."""
        return [
            place
            for place, output in enumerate(self.outputs)
            if output is not None and output.dtype.kind in "fiu" and output.ndim == rank
        ]

    def named(self, *words: str) -> int | None:
        """The place of the first output whose name holds one of these words, and no "raw"."""
        for place, name in enumerate(self.names):
            if "raw" not in name and any(word in name for word in words):
                return place
        return None

    def array(self, place: int) -> Array:
        """An output that is known to be there."""
        found = self.outputs[place]
        assert found is not None
        return found


def sigmoid(x: Array) -> Numbers:
    """The logistic function, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x.astype(np.float64))))


def from_centres(boxes: Array) -> Numbers:
    """Corners of boxes given as centre, width and height along the last axis."""
    boxes = boxes.astype(np.float64)
    return np.concatenate(
        [boxes[..., :2] - boxes[..., 2:4] / 2, boxes[..., :2] + boxes[..., 2:4] / 2], axis=-1
    )


def found(corners: Array, scores: Array, *, suppress: bool = True) -> list[Boxes]:
    """The boxes of each input from corners (n, m, 4) and scores of classes (n, m, c)."""
    every = []
    for place, row in zip(corners, scores, strict=True):
        row = np.nan_to_num(row.astype(np.float64), nan=0, posinf=0, neginf=0)
        best = row.argmax(axis=1)
        numbers = np.nan_to_num(place.astype(np.float64), posinf=0, neginf=0)
        kept = Boxes(numbers, row.max(axis=1, initial=0), best.astype(np.int64)).certain()
        every.append(without_doubles(kept) if suppress else kept)
    return every


def probabilities_from(rows: Array) -> int:
    """How many of the numbers of each place, (n, m, numbers), are probabilities, from the first on.

    >>> probabilities_from(np.array([[[0.0, 1.0, 0.5, 7.0, 0.2]]]))
    3
    """
    if not rows.size:
        return 0
    inside = (rows.min(axis=(0, 1)) >= -SLACK) & (rows.max(axis=(0, 1)) <= 1 + SLACK)
    return int(inside.argmin()) if not inside.all() else len(inside)


def background(rows: Array) -> int | None:
    """Which class of probabilities that add up to 1 is the background: the commonest; else None."""
    if not rows.size or rows.shape[-1] < 2 or np.abs(rows.sum(axis=-1) - 1).max() > 0.01:
        return None
    return int(np.bincount(rows.argmax(axis=-1).ravel()).argmax())
