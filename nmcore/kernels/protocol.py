"""What a kernel must offer, and the data that it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nmcore.group import Float64Array, FloatArray, IntArray
from nmcore.kernels.bias import Bias
from nmcore.kernels.rows import Pairs, Rows
from nmcore.kernels.threads import Workers


@dataclass(frozen=True, eq=False)
class Shortlist:
    """Pairs of a query row and a target that may be the row's best.

    Attributes
    ----------
    row, column : int arrays, shape (M,)
        The pairs, ascending by row, then by column. A row may have none.
    low, high : float64 arrays, shape (K,), or None
        The least and the greatest bias distance of each row that has a pair, where one was
        asked for.
    """

    row: IntArray
    column: IntArray
    low: Float64Array | None
    high: Float64Array | None


@dataclass(frozen=True, eq=False)
class Panel:
    """The state of an elimination between two updates of its matrices; it is written to.

    Attributes
    ----------
    m, g : float64 arrays, shape (K,)
        The diagonals, always up to date; infinite and zero where a channel is gone.
    vectors : float64 array, shape (2, PANEL, K)
        The vectors u and v of the removals since the last update.
    """

    m: Float64Array
    g: Float64Array
    vectors: Float64Array

    def without(self, alive: IntArray) -> Panel:
        """Return the state of the channels still there, with empty panels."""
        panels, steps, _ = self.vectors.shape
        return Panel(self.m[alive], self.g[alive], np.empty((panels, steps, len(alive))))


def joined(strips: Sequence[Shortlist], rows: int) -> Shortlist:
    """Put the shortlists of consecutive strips of `rows` query rows together.

    Examples
    --------
    >>> one = Shortlist(np.array([0, 1]), np.array([5, 6]), None, None)
    >>> joined([one, one], rows=2).row
    array([0, 1, 2, 3])
    """
    return Shortlist(
        np.concatenate([strip.row + at * rows for at, strip in enumerate(strips)]),
        np.concatenate([strip.column for strip in strips]),
        _concatenated([strip.low for strip in strips]),
        _concatenated([strip.high for strip in strips]),
    )


def _concatenated(parts: Sequence[Float64Array | None]) -> Float64Array | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


class Kernel(Protocol):
    """A module with these names; :mod:`nmcore.kernels.numpy_` documents and defines them."""

    @property
    def NAME(self) -> str:
        """What users call it."""

    def unit_rows(
        self, rows: Rows, index: IntArray, pool: Workers
    ) -> tuple[NDArray[np.float32], Float64Array]:
        """See :func:`nmcore.kernels.numpy_.unit_rows`."""

    def shortlist(
        self,
        queries: Sequence[FloatArray],
        targets: Sequence[FloatArray],
        bias: Bias | None,
        margin: float,
        pool: Workers,
    ) -> Shortlist:
        """See :func:`nmcore.kernels.numpy_.shortlist`."""

    def compare(self, rows: Rows, n: IntArray, p: IntArray, pool: Workers) -> Pairs:
        """See :func:`nmcore.kernels.rows.compare`; every bit counts here."""

    def distance_sums(
        self,
        products: Float64Array,
        row_squares: Float64Array,
        column_squares: Float64Array,
        pool: Workers,
    ) -> tuple[Float64Array, Float64Array]:
        """See :func:`nmcore.kernels.numpy_.distance_sums`."""

    def fill_panel(
        self,
        M: Float64Array,
        G: Float64Array,
        panel: Panel,
        steps: int,
        removed: IntArray,
        cost: Float64Array,
    ) -> None:
        """See :func:`nmcore.kernels.numpy_.fill_panel`."""
