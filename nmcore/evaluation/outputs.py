"""What models give for some inputs, and what parts of it metrics read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmcore.calibration.padding import padded_away
from nmcore.group import Array

# A model's outputs for some inputs. One whose parts have different shapes is an array of objects,
# shape (n,); None stands for one that is no numbers.
Outputs = Sequence[Array | None]


@dataclass(frozen=True, eq=False)
class Batch:
    """What the original and another model give for some inputs.

    Attributes
    ----------
    original, outputs : sequence of array, or None in place of one
        Each output of the original, and of the model in question; which may be the original.
    y : int array, shape (n,), or None
        The classes.
    places : int array, shape (n,)
        Which of the data these inputs are.
    counts : bool array, shape (n, positions), or None
        Which positions are no padding, where an input of the model says so.
    names : sequence of str
        Of the outputs; empty where they are not known.
    picture : tuple of int, or None
        Height, width and channels of what the model sees, where that is one picture an input.
    """

    original: Outputs
    outputs: Outputs
    y: Array | None
    places: NDArray[np.intp]
    counts: NDArray[np.bool_] | None = None
    names: Sequence[str] = ()
    picture: tuple[int, int, int] | None = None

    def without_padding(self, output: Array) -> Array:
        """An output without what it holds at positions of padding."""
        return output if self.counts is None else padded_away(output, self.counts)

    def vectors(self, outputs: Outputs) -> Array | None:
        """One vector (n, d) for each input: the first floating-point output of rank 2 or 3.

        Of rank 3, the mean over its positions, padding left out.
        """
        output = first_vectors(outputs)
        if output is None or output.ndim == 2:
            return output
        if self.counts is None or self.counts.shape != output.shape[:2]:
            return np.asarray(output.mean(axis=1, dtype=np.float64))
        weight = self.counts[..., None]
        total = np.where(weight, output, 0).sum(axis=1, dtype=np.float64)
        return np.asarray(total / np.maximum(weight.sum(axis=1), 1))


def joined(parts: Sequence[Array]) -> Array:
    """Parts (m, ...) with a row for each input as one array, of objects where shapes differ.

    Where inputs have lists of different lengths, a list of one (1, ...) is not the row of a batch.

    Examples
    --------
    >>> joined([np.zeros((1, 2)), np.zeros((2, 2))]).shape
    (3, 2)
    >>> [row.shape for row in joined([np.zeros((1, 5, 4)), np.zeros((1, 4))])]
    [(5, 4), (1, 4)]
    """
    if all(part.dtype != object for part in parts) and len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    rows = [np.asarray(row) for part in parts for row in part]
    rank = max(row.ndim for row in rows)
    rows = [row if row.ndim == rank else row[None] for row in rows]
    if len({row.shape for row in rows}) == 1:
        return np.stack(rows)
    column = np.empty(len(rows), object)
    for place, row in enumerate(rows):  # A list would be broadcast.
        column[place] = row
    return column


def first_vectors(outputs: Outputs) -> Array | None:
    """The first floating-point output of rank 2 or 3 with more than one number an input.

    What a pooling left at rank 4, (n, d, 1, 1), is of rank 2.

    >>> first_vectors([np.zeros((2, 1)), np.zeros((2, 128, 1, 1))]).shape
    (2, 128)
    """
    for output in outputs:
        if output is not None and output.ndim == 4 and output.shape[2:] == (1, 1):
            output = output[:, :, 0, 0]
        if output is None or output.dtype.kind != "f" or output.ndim not in (2, 3):
            continue
        if output.shape[-1] > 1:
            return output
    return None


def first_pictures(outputs: Outputs) -> Array | None:
    """The first floating-point output of rank 4 with 1 or 3 channels, on its axis 1 or last."""
    for output in outputs:
        if output is None or output.dtype.kind != "f" or output.ndim != 4:
            continue
        if output.shape[1] in (1, 3) or output.shape[3] in (1, 3):
            return output
    return None


def top_class(output: Array) -> NDArray[np.int64] | None:
    """Return the top class of each input; None where the output holds no class scores.

    Where a score is not a number the class is -1, which is no class and agrees with none.

    Examples
    --------
    >>> top_class(np.array([[0.1, 0.9], [0.8, 0.2]]))
    array([1, 0])
    >>> top_class(np.zeros((2, 1, 320, 320))) is None
    True
    """
    if output.ndim == 1 and output.dtype.kind in "iu":
        return output.astype(np.int64)
    scores = class_scores(output)
    if scores is None:
        return None
    return np.where(np.isnan(scores).any(axis=1), -1, np.argmax(scores, axis=1))


def class_scores(output: Array | None) -> Array | None:
    """The scores (n, classes) that an output holds, where one axis has more than one number."""
    if output is None or output.dtype.kind != "f":
        return None
    sizes = [size for size in output.shape[1:] if size != 1]
    return output.reshape(len(output), sizes[0]) if len(sizes) == 1 and sizes[0] else None
