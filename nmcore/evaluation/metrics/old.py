"""Metrics: how good outputs are, or how near to those of the original.

A metric is given the outputs batch by batch and holds no more of them than it needs. To add one,
write a class like these and a line in :data:`METRICS`; evaluation and command line take the name
from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from nmcore.errors import ArgumentError
from nmcore.evaluation.outputs import (
    OTHER,
    PICTURES,
    SCORES,
    VECTORS,
    Batch,
    class_scores,
    first_pictures,
    top_class,
)
from nmcore.group import Array

# Nearest neighbours are looked for among so many inputs at most, and for so many at a time.
NEIGHBOURS, _BLOCK = 5_000, 512

# (outputs of the original, outputs of the result, y) -> a number
Function = Callable[[list[Array], list[Array], "Array | None"], float]
# The name of a metric, or a function of the caller's own.
MetricLike = str | Function


class Metric(Protocol):
    """The running account of one figure, or of a few that belong together.

    Attributes
    ----------
    needs : str
        What it is told of, in words.
    relative : bool
        Whether it compares with the original, of which it tells nothing itself.
    """

    needs: ClassVar[str]
    relative: ClassVar[bool]

    def add(self, batch: Batch) -> None:
        """Account for some inputs."""
        ...

    def values(self) -> Mapping[str, float | None]:
        """The figures by name; None for what the outputs, or missing classes, do not tell."""
        ...


@dataclass(eq=False)
class TopClasses:
    """Percent of the inputs whose class is among the ``k`` with the highest scores.

    Examples
    --------
    >>> two = TopClasses(2)
    >>> scores = [np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])]
    >>> two.add(Batch(scores, scores, np.array([1, 0]), np.arange(2)))
    >>> two.values()
    {'top2': 50.0}
    """

    k: int
    right: int = 0
    n: int = 0

    needs: ClassVar[str] = "class scores in the first output, and classes y"
    relative: ClassVar[bool] = False

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        first = batch.outputs[0]
        top = None if first is None else top_class(first)
        if batch.y is None or top is None:
            return
        hits = (top == batch.y) & (top >= 0)
        scores = class_scores(first)
        if self.k > 1 and scores is not None:
            best = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
            hits = (best == batch.y[:, None]).any(axis=1) & (top >= 0)
        self.right += int(np.count_nonzero(hits))
        self.n += len(hits)

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        return {f"top{self.k}": 100 * self.right / self.n if self.n else None}


@dataclass(eq=False)
class Agreement:
    """Percent of the inputs on which the original gives the same top class."""

    same: int = 0
    n: int = 0

    needs: ClassVar[str] = "class scores in the first output"
    relative: ClassVar[bool] = True

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        mine, other = (
            None if outputs[0] is None else top_class(outputs[0])
            for outputs in (batch.outputs, batch.original)
        )
        if mine is None or other is None:
            return
        self.same += int(np.count_nonzero((mine == other) & (mine >= 0)))
        self.n += len(mine)

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        return {"agreement": 100 * self.same / self.n if self.n else None}


@dataclass(eq=False)
class Deviation:
    """How far outputs are from those of the original, over all that are floating-point numbers.

    The root mean square of the difference, in percent of that of the original's. Outputs of other
    shapes than the original's are left out, as is padding, and what is not finite counts as zero;
    where a number is none, so is the figure.

    Examples
    --------
    >>> deviation = Deviation()
    >>> original, outputs = [np.array([3.0, 4.0])], [np.array([3.0, 5.0])]
    >>> deviation.add(Batch(original, outputs, None, np.arange(2)))
    >>> deviation.values()
    {'deviation': 20.0}
    """

    wrong: float = 0.0
    total: float = 0.0
    compared: bool = False
    has_nan: bool = False

    needs: ClassVar[str] = "floating-point outputs of the shapes that the original gives"
    relative: ClassVar[bool] = True

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        if len(batch.original) != len(batch.outputs):
            return
        for want, got in zip(batch.original, batch.outputs, strict=True):
            if want is None or got is None or got.shape != want.shape or want.dtype.kind != "f":
                continue
            want, got = batch.without_padding(want), batch.without_padding(got)
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

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        return {"deviation": None if self.has_nan else self.percent}


@dataclass(eq=False)
class Cosine:
    """How alike the vectors are that inputs become, and whether they keep their neighbours.

    ``cosine`` is the mean cosine of the vector of the original and that of the result, from -1 to
    1; ``neighbours`` the percent of inputs whose nearest other input, by the cosine of their
    vectors, is the same for both models. For the vectors see
    :meth:`nmcore.evaluation.outputs.Batch.vectors`.

    Examples
    --------
    >>> cosine = Cosine()
    >>> original = [np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])]
    >>> cosine.add(Batch(original, [original[0] * 2], None, np.arange(3)))
    >>> {name: round(value, 3) for name, value in cosine.values().items()}
    {'cosine': 1.0, 'neighbours': 100.0}
    """

    original: list[Array] = field(default_factory=list)
    found: list[Array] = field(default_factory=list)
    total: float = 0.0
    squares: float = 0.0
    n: int = 0
    kept: int = 0

    needs: ClassVar[str] = "a floating-point output of rank 2 or 3"
    relative: ClassVar[bool] = True

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        one, other = batch.vectors(batch.original), batch.vectors(batch.outputs)
        if one is None or other is None or one.shape != other.shape:
            return
        one, other = _normalised(one), _normalised(other)
        cosines = (one * other).sum(axis=1)
        self.total += float(cosines.sum())
        self.squares += float(np.square(1 - cosines).sum())
        self.n += len(one)
        if self.kept < NEIGHBOURS:
            self.original.append(one.astype(np.float32))
            self.found.append(other.astype(np.float32))
            self.kept += len(one)

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        if not self.n:
            return {"cosine": None, "neighbours": None}
        return {"cosine": self.total / self.n, "neighbours": self._kept_neighbours()}

    @property
    def error(self) -> float | None:
        """The standard error of the mean cosine, as far as these inputs tell."""
        if self.n < 2:
            return None
        variance = self.squares / self.n - (1 - self.total / self.n) ** 2
        return math.sqrt(max(variance, 0.0) / self.n)

    def _kept_neighbours(self) -> float | None:
        """Percent of the inputs; of two there is nothing to tell."""
        one, other = (np.concatenate(each)[:NEIGHBOURS] for each in (self.original, self.found))
        if len(one) < 3:
            return None
        same = sum(
            int(np.count_nonzero(_nearest(one, start) == _nearest(other, start)))
            for start in range(0, len(one), _BLOCK)
        )
        return 100 * same / len(one)


def _normalised(vectors: Array) -> Array:
    vectors = np.nan_to_num(vectors.astype(np.float64), posinf=0, neginf=0)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30))


def _nearest(vectors: Array, start: int) -> Array:
    """The nearest other vector of some, from ``start`` on."""
    rows = np.arange(start, min(start + _BLOCK, len(vectors)))
    cosines = vectors[rows] @ vectors.T
    cosines[np.arange(len(rows)), rows] = -2
    return np.asarray(cosines.argmax(axis=1))


@dataclass(eq=False)
class Psnr:
    """The peak signal-to-noise ratio of pictures, in decibel: ``10 log10(peak^2 / mse)``.

    The signal is the original's first output of pictures, the peak the range of all its numbers.
    None where both models give the same, as it is infinite then.
    """

    wrong: float = 0.0
    count: int = 0
    low: float = math.inf
    high: float = -math.inf

    needs: ClassVar[str] = "a floating-point output of rank 4 with 1 or 3 channels"
    relative: ClassVar[bool] = True

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        want, got = first_pictures(batch.original), first_pictures(batch.outputs)
        if want is None or got is None or want.shape != got.shape:
            return
        want, got = want.astype(np.float64), got.astype(np.float64)
        self.wrong += float(np.square(got - want).sum())
        self.count += want.size
        self.low, self.high = min(self.low, float(want.min())), max(self.high, float(want.max()))

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        peak = self.high - self.low
        if not self.count or not math.isfinite(self.wrong) or not self.wrong or not peak:
            return {"psnr": None}
        return {"psnr": 10 * math.log10(peak**2 * self.count / self.wrong)}


@dataclass(eq=False)
class Custom:
    """A figure of the caller's own, computed once from all outputs.

    Attributes
    ----------
    function : callable
        Takes the outputs of the original, those of the result, and ``y`` or None; gives a number.
        Each output is an array (n, ...) in the order of the data, or one of objects, shape (n,),
        where the parts have different shapes.
    """

    function: Function
    batches: list[Batch] = field(default_factory=list)

    needs: ClassVar[str] = "a function that gives a number"
    relative: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """What the function is called."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        self.batches.append(batch)

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`.

        Raises
        ------
        ArgumentError
            The function gives no number.
        """
        order = np.argsort(np.concatenate([batch.places for batch in self.batches]), kind="stable")
        y = None
        if self.batches[0].y is not None:
            y = np.concatenate([batch.y for batch in self.batches if batch.y is not None])[order]
        original, outputs = (
            [_joined(parts, order) for parts in zip(*each, strict=True)]
            for each in (
                [batch.original for batch in self.batches],
                [batch.outputs for batch in self.batches],
            )
        )
        found = self.function(original, outputs, y)
        number = float(found) if isinstance(found, (int, float, np.number)) else math.nan
        if not math.isfinite(number):
            given = found if isinstance(found, (float, np.floating)) else type(found).__name__
            raise ArgumentError(f"metric {self.name} gave {given}; a finite number is needed")
        return {self.name: number}


def _joined(parts: Sequence[Array | None], order: Array) -> Array:
    """The parts of one output in the order of the data."""
    known = [part for part in parts if part is not None]
    if len(known) == len(parts) and len({part.shape[1:] for part in known}) == 1:
        return np.asarray(np.concatenate(known)[order])
    rows: list[Any] = [row for part in known for row in part]
    column = np.empty(len(order), object)
    for place, row in enumerate(rows):
        column[place] = row
    return column[order]


METRICS: dict[str, Callable[[], Metric]] = {
    "top1": lambda: TopClasses(1),
    "top5": lambda: TopClasses(5),
    "agreement": Agreement,
    "deviation": Deviation,
    "cosine": Cosine,
    "psnr": Psnr,
}
# What is told of outputs of each form where nobody says what counts.
OF_FORM = {
    SCORES: ("top1", "agreement", "deviation"),
    VECTORS: ("deviation", "cosine"),
    PICTURES: ("deviation", "psnr"),
    OTHER: ("deviation",),
}


def metrics_of(given: Any) -> dict[str, Callable[[], Metric]]:
    """What makes each metric that a caller named or wrote, by its name.

    Parameters
    ----------
    given : str, callable, or sequence of these, or None
        None gives none.

    Raises
    ------
    ArgumentError
        There is none of that name, or it is neither a name nor a function.

    Examples
    --------
    >>> [*metrics_of(["top5", lambda original, outputs, y: 1.0])]
    ['top5', '<lambda>']
    """
    if given is None:
        return {}
    found: dict[str, Callable[[], Metric]] = {}
    for each in given if isinstance(given, (list, tuple)) else [given]:
        if isinstance(each, str) and each in METRICS:
            found[each] = METRICS[each]
        elif callable(each):
            metric = Custom(each)
            found[metric.name] = lambda function=each: Custom(function)  # type: ignore[misc]
        else:
            raise ArgumentError(
                f"metric is {each!r}; one of {', '.join(METRICS)}, or a function of the outputs of "
                "the original, those of the result and y, is needed"
            )
    return found
