"""Running several models on the same inputs and counting how alike their outputs are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nmcore.data.batches import BatchRunner
from nmcore.data.dataset import Dataset
from nmcore.data.feeds import batch_size, feeder
from nmcore.errors import DataError, ModelError, OutOfMemoryError
from nmcore.group import Array
from nmcore.plugins import protocols
from nmcore.utils.progress import Progress
from nmcore.utils.text import shape_text

# A model's outputs for some inputs; None for one whose parts have different shapes.
Outputs = Sequence[Array | None]


class Runner:
    """One model, fed from one data set in batches of the size it takes."""

    def __init__(self, name: str, session: protocols.Session, data: Dataset) -> None:
        self.name = name
        self.session = session
        self.data = data
        self.feed = feeder(data, session.inputs)
        self._batch_runner = BatchRunner(session, divisible=self.feed.fixed is None)
        self._alone = False

    def once(self) -> object:
        """Run the first input, or the first fixed batch."""
        return self.session.run(self._first)

    @cached_property
    def _first(self) -> dict[str, Array]:
        return self.feed(next(self.data.alike(self.feed.fixed or 1)))

    def __call__(self, chosen: NDArray[np.intp]) -> Outputs:
        """Return each output for some inputs of one shape; None for one that cannot be stacked."""
        size = self.feed.fixed or len(chosen)
        runs = [
            run
            for first in range(0, len(chosen), size)
            for run in self._runs(chosen[first : first + size])
        ]
        return [_stacked(parts) for parts in zip(*runs, strict=True)]

    def _runs(self, chosen: NDArray[np.intp]) -> list[list[Array]]:
        """What one run gives, or as many runs as memory and the model turn out to want."""
        count = len(chosen)
        if self._alone and count > 1:
            return [run for one in chosen for run in self._runs(np.array([one]))]
        feeds = self.feed(chosen)
        if self.feed.fixed or count == 1:
            return [self._per_input(self.session.run(feeds), count)]
        # Many a graph says that its batch is dynamic and then reshapes to a batch of one.
        try:
            runs = [*self._batch_runner(feeds)]
        except OutOfMemoryError:
            raise
        except ModelError:
            runs = []
        if runs and all(outputs[0].shape[:1] == (taken,) for taken, outputs in runs):
            return [self._per_input(outputs, taken) for taken, outputs in runs]
        self._alone = True
        return self._runs(chosen)

    def _per_input(self, outputs: Sequence[Array], count: int) -> list[Array]:
        """The outputs with a part for each input; the first output must have them."""
        taken = self.feed.fixed or count
        first = outputs[0]
        if first.shape[:1] != (taken,) and taken != 1:
            raise ModelError(
                f"{self.name} takes {taken} inputs at a time, but its first output has shape "
                f"{shape_text(first.shape)}, which is not one part an input"
            )
        return [
            output[:count] if output.shape[:1] == (taken,) else output[None] for output in outputs
        ]


def _stacked(parts: Sequence[Array]) -> Array | None:
    """The parts as one array; None where they have different shapes or are no numbers."""
    numbers = all(isinstance(part, np.ndarray) and part.dtype.kind in "fiub" for part in parts)
    if not numbers or len({part.shape[1:] for part in parts}) != 1:
        return None
    return np.concatenate(parts)


@dataclass(eq=False)
class Deviation:
    """How far outputs are from others, over all those that are floating-point numbers.

    The root mean square of the difference, relative to that of the wanted outputs. Outputs of
    other shapes than those wanted are left out, and what is not finite counts as zero.

    Examples
    --------
    >>> deviation = Deviation()
    >>> deviation.add([np.array([3.0, 4.0])], [np.array([3.0, 5.0])])
    >>> deviation.percent
    20.0
    """

    wrong: float = 0.0
    total: float = 0.0
    compared: bool = False
    has_nan: bool = False

    def add(self, wanted: Outputs, found: Outputs) -> None:
        """Account for the outputs of a batch."""
        for want, got in zip(wanted, found, strict=True):
            if want is None or got is None or got.shape != want.shape:
                continue
            if not np.issubdtype(want.dtype, np.floating):
                continue
            self.has_nan |= bool(np.isnan(want).any() or np.isnan(got).any())
            want, got = (
                np.nan_to_num(each.astype(np.float64), posinf=0, neginf=0) for each in (want, got)
            )
            self.compared = True
            self.total += float(np.square(want).sum())
            self.wrong += float(np.square(got - want).sum())

    @property
    def percent(self) -> float | None:
        """In percent; None where nothing could be compared."""
        return 100 * math.sqrt(self.wrong / (self.total or 1.0)) if self.compared else None


@dataclass
class Tally:
    """The running account of one model; ``None`` for what turned out not to apply."""

    first: bool
    n: int = 0
    right: int | None = 0
    same: int | None = 0
    difference: Deviation = field(default_factory=Deviation)

    def add(
        self,
        outputs: Outputs,
        reference: Outputs | None,
        labels: NDArray[np.int64] | None,
        count: int,
    ) -> None:
        """Account for one batch: a model's outputs, the first model's, and the true classes."""
        self.n += count
        top = None if outputs[0] is None else top_class(outputs[0])
        self.right = _count(self.right, top, labels)
        if reference is None:
            return
        reference_top = None if reference[0] is None else top_class(reference[0])
        self.same = _count(self.same, top, reference_top)
        if len(reference) == len(outputs):
            self.difference.add(reference, outputs)

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
        """See :class:`Deviation`; None where a number is none."""
        return None if self.first or self.difference.has_nan else self.difference.percent


def compare(runners: Sequence[Runner], data: Dataset, progress: Progress) -> list[Tally]:
    """Run all models batch by batch: only one batch of the first one's outputs is ever held."""
    tallies = [Tally(first=runner is runners[0]) for runner in runners]
    for chosen in progress("evaluating", [*data.alike(batch_size(data))]):
        labels = None if data.y is None else data.y[chosen]
        reference: Outputs | None = None
        for runner, tally in zip(runners, tallies, strict=True):
            outputs = runner(chosen)
            if outputs[0] is not None and labels is not None:
                _check_labels(runner.name, outputs[0], labels)
            tally.add(outputs, reference, labels, len(chosen))
            reference = outputs if tally.first else reference
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
