"""Running several models on the same inputs and counting how alike their outputs are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nmcore.data.feeds import Data, batch_size, feeder
from nmcore.errors import DataError, ModelError, OutOfMemoryError
from nmcore.group import Array
from nmcore.plugins import protocols
from nmcore.utils.progress import Progress
from nmcore.utils.text import shape_text


class Runner:
    """One model, fed from one data set in batches of the size it takes."""

    def __init__(self, name: str, session: protocols.Session, data: Data) -> None:
        self.name = name
        self.session = session
        self.data = data
        self.feed = feeder(data, session.inputs)
        self.size = self.feed.fixed or batch_size(data)

    def once(self) -> object:
        """Run the first input, or the first fixed batch."""
        return self.session.run(self._first)

    @cached_property
    def _first(self) -> dict[str, Array]:
        return self.feed(0, min(self.feed.fixed or 1, len(self.data)))

    def __call__(self, start: int, stop: int) -> Array | None:
        """Return the first output for a range of inputs; None where they cannot be stacked."""
        parts: list[Array] = []
        while start < stop:
            end = min(start + self.size, stop)
            try:
                parts += self._parts(start, end)
            except OutOfMemoryError:
                if self.feed.fixed or end - start == 1:
                    raise
                self.size = (end - start + 1) // 2
                continue
            start = end
        arrays = all(isinstance(part, np.ndarray) and part.dtype.kind in "fiub" for part in parts)
        if not arrays or len({part.shape[1:] for part in parts}) != 1:
            return None
        return np.concatenate(parts)

    def _parts(self, start: int, stop: int) -> list[Array]:
        """What one run gives, or as many runs as the model turns out to want."""
        count = stop - start
        feeds = self.feed(start, stop)
        if self.feed.fixed or count == 1:
            return [self._per_input(self.session.run(feeds)[0], count)]
        # Many a graph says that its batch is dynamic and then reshapes to a batch of one.
        try:
            output = self.session.run(feeds, divisible=True)[0]
        except OutOfMemoryError:
            raise
        except ModelError:
            output = None
        if output is not None and output.shape[:1] == (count,):
            return [output]
        self.size = 1
        return [part for one in range(start, stop) for part in self._parts(one, one + 1)]

    def _per_input(self, output: Array, count: int) -> Array:
        taken = self.feed.fixed or 1
        if output.shape[:1] == (taken,):
            return output[:count]
        if taken == 1:
            return output[None]
        raise ModelError(
            f"{self.name} takes {taken} inputs at a time, but its first output has shape "
            f"{shape_text(output.shape)}, which is not one part an input"
        )


@dataclass
class Tally:
    """The running account of one model; ``None`` for what turned out not to apply."""

    first: bool
    n: int = 0
    right: int | None = 0
    same: int | None = 0
    squares: list[float] | None = field(default_factory=lambda: [0.0, 0.0])

    def add(
        self,
        output: Array | None,
        reference: Array | None,
        labels: NDArray[np.int64] | None,
        count: int,
    ) -> None:
        """Account for one batch: a model's output, the first model's, and the true classes."""
        self.n += count
        top = None if output is None else top_class(output)
        reference_top = None if reference is None else top_class(reference)
        self.right = _count(self.right, top, labels)
        self.same = _count(self.same, top, reference_top)
        if output is None or reference is None or output.shape != reference.shape:
            self.squares = None
        elif self.squares is not None:
            difference = output.astype(np.float64) - reference
            self.squares[0] += float(np.sum(difference**2))
            self.squares[1] += float(np.sum(reference.astype(np.float64) ** 2))

    @property
    def top1(self) -> float | None:
        """Percent of the inputs whose top class is right."""
        return None if self.right is None else 100 * self.right / self.n

    @property
    def agreement(self) -> float | None:
        """Percent of the inputs on which the first model gives the same top class."""
        return None if self.first or self.same is None else 100 * self.same / self.n

    @property
    def deviation(self) -> float | None:
        """Root mean square of the difference to the first model, in percent of its outputs'."""
        if self.first or self.squares is None or not self.squares[1]:
            return None
        deviation = 100 * math.sqrt(self.squares[0] / self.squares[1])
        return deviation if math.isfinite(deviation) else None


def compare(runners: Sequence[Runner], data: Data, progress: Progress) -> list[Tally]:
    """Run all models batch by batch: only one batch of the first one's outputs is ever held."""
    tallies = [Tally(first=runner is runners[0]) for runner in runners]
    size = batch_size(data)
    for start in progress("evaluating", range(0, len(data), size)):
        stop = min(start + size, len(data))
        labels = None if data.y is None else data.y[start:stop]
        reference = None
        for runner, tally in zip(runners, tallies, strict=True):
            output = runner(start, stop)
            reference = output if tally.first else reference
            if output is not None and labels is not None:
                _check_labels(runner.name, output, labels)
            tally.add(output, reference, labels, stop - start)
    return tallies


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
    classes = _class_count(output)
    if classes is None:
        return None
    scores = output.reshape(len(output), classes)
    return np.where(np.isnan(scores).any(axis=1), -1, np.argmax(scores, axis=1))


def _class_count(output: Array) -> int | None:
    sizes = [size for size in output.shape[1:] if size != 1]
    return sizes[0] if len(sizes) == 1 and output.dtype.kind == "f" else None


def _count(
    so_far: int | None, top: NDArray[np.int64] | None, other: NDArray[np.int64] | None
) -> int | None:
    if so_far is None or top is None or other is None:
        return None
    return so_far + int(np.count_nonzero((top == other) & (top >= 0)))


def _check_labels(name: str, output: Array, labels: NDArray[np.int64]) -> None:
    classes = _class_count(output)
    if classes is not None and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"y holds classes from {labels.min()} to {labels.max()}, but {name} gives "
            f"{classes} scores an input"
        )
