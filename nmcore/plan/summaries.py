"""Curves, similarities and scaling matrices in few numbers, for reports of bounded size.

A model may have hundreds of groups of thousands of channels; whatever a report holds of one group
is of a size that does not grow with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmcore.arrays.elimination import Curve
from nmcore.group import Float64Array, IntArray, Scaling
from nmcore.utils.spread import spread

# Points of a curve, bins of a histogram, cells of a picture along each axis.
POINTS = 100
BINS = 40
ROWS, COLUMNS = 40, 56
# So many groups have their Z pictured: those where most is merged.
PICTURES = 12


@dataclass(frozen=True)
class CurveSummary:
    """The error of a group as channels go.

    Attributes
    ----------
    removed : sequence of int
        Numbers of removed channels, ascending.
    error : sequence of float
        The error with so many channels removed, relative to the variance of what the next layers
        compute.
    chosen : float or None
        The error with as many channels removed as were; None where that was not measured.
    original : bool
        Whether the curve was measured on the original network, for any number of channels; else
        it was measured on the network compressed so far, and ends where the removal ended.
    """

    removed: Sequence[int]
    error: Sequence[float]
    chosen: float | None
    original: bool

    @classmethod
    def of(cls, curve: Curve, width: int, kept: int) -> CurveSummary:
        """Take at most ``POINTS`` points of a curve.

        >>> curve = Curve(np.array([2, 0, 1]), np.array([0.0, 0.01234567, 0.5]))
        >>> CurveSummary.of(curve, width=4, kept=2)
        CurveSummary(removed=(1, 2, 3), error=(0.0, 0.01235, 0.5), chosen=0.01235, original=True)
        """
        finite = np.flatnonzero(np.isfinite(curve.error))
        taken = finite[spread(len(finite), POINTS)]
        known = {0: 0.0} | {int(n) + 1: float(curve.error[n]) for n in finite}
        chosen = known.get(width - kept)
        return cls(
            removed=tuple(int(place) + 1 for place in taken),
            error=_short(curve.error[taken]),
            chosen=None if chosen is None else _short([chosen])[0],
            original=curve.original,
        )


@dataclass(frozen=True)
class SimilaritySummary:
    """How alike the removed channels of a group are to the kept ones they were matched with.

    Attributes
    ----------
    threshold : float or None
        The least cosine at which a channel was merged.
    merged, left_out : sequence of int
        Removed channels by their cosine, in ``BINS`` bins of equal width from -1 to 1: those that
        were merged and those that were not.
    """

    threshold: float | None
    merged: Sequence[int]
    left_out: Sequence[int]

    @classmethod
    def of(cls, scaling: Scaling) -> SimilaritySummary | None:
        """Count what a scaling matrix compared; None if it compared nothing.

        >>> Z = Scaling(
        ...     np.array([0]), 3, np.array([1.0, 0.99, -0.18]), np.array([0, 0, -1]),
        ...     np.array([1.0, 2.0, 0.0]), threshold=0.5,
        ... )
        >>> summary = SimilaritySummary.of(Z)
        >>> summary.merged[-1], summary.left_out.index(1), summary.threshold
        (1, 16, 0.5)
        """
        removed = _removed(scaling)
        known = removed[np.isfinite(scaling.similarity[removed])]
        if not len(known):
            return None
        merged = _rebuilt(scaling)[known]
        similarity = scaling.similarity[known]
        return cls(scaling.threshold, _counts(similarity[merged]), _counts(similarity[~merged]))


@dataclass(frozen=True)
class ZSummary:
    """A picture of Z without its unit columns: how each removed channel is rebuilt.

    Attributes
    ----------
    kept, removed : int
        Rows of Z, and columns that are no unit columns.
    left_out : int
        How many of these columns are zero.
    largest : float
        The largest magnitude of a factor.
    cells : sequence of rows, each a sequence of float
        At most ``ROWS`` times ``COLUMNS`` numbers. A row stands for one or several neighbouring
        kept channels. A column stands for one or several removed ones, ordered by the kept
        channels that have the most say in them, those left out last. A cell is the factor of the
        largest magnitude.
    """

    kept: int
    removed: int
    left_out: int
    largest: float
    cells: Sequence[Sequence[float]]

    @classmethod
    def of(cls, scaling: Scaling) -> ZSummary:
        """Draw a scaling matrix in few cells.

        >>> Z = Scaling(
        ...     np.array([0, 2]), 4, np.array([1.0, 0.9, 1.0, 0.8]), np.array([0, 1, 1, 0]),
        ...     np.array([1.0, 0.5, 1.0, 2.0]),
        ... )
        >>> ZSummary.of(Z).cells  # channel 3 is twice channel 0, channel 1 half of channel 2
        ((2.0, 0.0), (0.0, 0.5))
        """
        removed = _removed(scaling)
        rows, columns, factors = _entries(scaling, removed)
        by_size = np.argsort(np.abs(factors), kind="stable")
        rows, columns, factors = rows[by_size], columns[by_size], factors[by_size]
        # Of several numbers for one place NumPy keeps the last, here the largest.
        first = np.full(len(removed), len(scaling.kept))
        first[columns] = rows
        position = np.empty(len(removed), dtype=np.intp)
        position[np.argsort(first, kind="stable")] = np.arange(len(removed))
        height, width = min(ROWS, len(scaling.kept)), min(COLUMNS, len(removed))
        cells = np.zeros((height, width))
        if width:
            across = position[columns] * width // len(removed)
            cells[rows * height // len(scaling.kept), across] = factors
        return cls(
            kept=len(scaling.kept),
            removed=len(removed),
            left_out=int(np.count_nonzero(first == len(scaling.kept))),
            largest=_short([np.abs(factors).max(initial=0.0)])[0],
            cells=tuple(_short(row) for row in cells),
        )


@dataclass(frozen=True)
class ScalingSummary:
    """What a report shows of a scaling matrix.

    Attributes
    ----------
    similarity : SimilaritySummary or None
        How alike removed and kept channels are, where the method compares them.
    z : ZSummary
        The picture of Z.
    """

    similarity: SimilaritySummary | None
    z: ZSummary

    @classmethod
    def of(cls, scaling: Scaling) -> ScalingSummary:
        """Take what a report shows of a scaling matrix, which is then needed no more."""
        return cls(SimilaritySummary.of(scaling), ZSummary.of(scaling))


def _removed(scaling: Scaling) -> IntArray:
    return np.delete(np.arange(scaling.width), scaling.kept)


def _rebuilt(scaling: Scaling) -> NDArray[np.bool_]:
    """For each channel whether its column of Z holds anything."""
    if scaling.assignment is not None:
        return np.asarray(scaling.assignment >= 0)
    return np.asarray(np.any(scaling.Z != 0, axis=0))


def _entries(scaling: Scaling, removed: IntArray) -> tuple[IntArray, IntArray, Float64Array]:
    """The numbers of Z in the columns of the removed channels, with their places.

    Of neighbouring rows of a dense Z that share a row of the picture only the largest are told.
    """
    if scaling.assignment is None or scaling.scale is None:
        part = np.nan_to_num(scaling.Z[:, removed], nan=0, posinf=0, neginf=0)
        height = min(ROWS, len(part))
        starts = -(-np.arange(height) * len(part) // height)
        high, low = (each.reduceat(part, starts, axis=0) for each in (np.maximum, np.minimum))
        largest = np.where(high >= -low, high, low)
        rows, columns = np.nonzero(largest)
        return starts[rows], columns, largest[rows, columns].astype(np.float64)
    columns = np.flatnonzero(scaling.assignment[removed] >= 0)
    own = removed[columns]
    return scaling.assignment[own], columns, scaling.scale[own].astype(np.float64)


def _counts(similarity: NDArray[np.floating]) -> tuple[int, ...]:
    counts, _ = np.histogram(np.clip(similarity, -1, 1), bins=BINS, range=(-1, 1))
    return tuple(map(int, counts))


def _short(numbers: Iterable[float]) -> tuple[float, ...]:
    """Four digits, which is more than any picture shows."""
    return tuple(float(f"{number:.4g}") for number in numbers)
