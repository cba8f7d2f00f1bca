"""The kernel that does all that follows the matrix product in one compiled pass over each row.

The passes are in :mod:`nmcore.kernels.numba_loops`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nmcore.group import Float64Array, FloatArray, IntArray
from nmcore.kernels import numba_loops as loops
from nmcore.kernels import numpy_
from nmcore.kernels.bias import Bias
from nmcore.kernels.protocol import Panel, Shortlist
from nmcore.kernels.rows import Pairs, Rows
from nmcore.kernels.threads import Workers

NAME = "numba"
# Waking a thread costs as much as passing over this many numbers.
_LEAST = 1 << 18
# Numbers in a strip of a block: they are read twice, the second time from a core's cache.
_STRIP = 1 << 18


def unit_rows(
    rows: Rows, index: IntArray, pool: Workers
) -> tuple[NDArray[np.float32], Float64Array]:
    """See :func:`nmcore.kernels.numpy_.unit_rows`; unusual rows are left to that.

    Examples
    --------
    >>> from nmcore.kernels.rows import make_rows
    >>> unit_rows(make_rows(np.array([[3.0, 4.0]])), np.array([0]), Workers(1))[1]
    array([5.])
    """
    if not _is_plain(rows):
        return numpy_.unit_rows(rows, index, pool)
    flat, bias = _arrays(rows)
    unit, norm = numpy_.empty_units(rows, len(index)), np.empty(len(index))

    def fill(start: int, stop: int) -> None:
        part = slice(start, stop)
        loops.unit_rows(flat, bias, index[part], unit[part], norm[part])

    pool.halves(fill, len(index), _LEAST // flat.shape[1])
    return unit, norm


def _is_plain(rows: Rows) -> bool:
    """Whether the compiled passes can read the weight as it is."""
    return (
        rows.weight.dtype in (np.float32, np.float64)
        and rows.weight.flags.c_contiguous
        and rows.factor is None
        and rows.exponent is None
    )


def _arrays(rows: Rows) -> tuple[FloatArray, Float64Array]:
    """Return the weight as (N, D) and the bias, empty where there is none."""
    bias = np.empty(0) if rows.bias is None else rows.bias.astype(np.float64)
    return rows.weight.reshape(len(rows.weight), -1), bias


def compare(rows: Rows, n: IntArray, p: IntArray, pool: Workers) -> Pairs:
    """See :func:`nmcore.kernels.rows.compare`; rows that need BLAS or care are left to that.

    Examples
    --------
    >>> from nmcore.kernels.rows import make_rows
    >>> rows = make_rows(np.array([[3.0, 4.0], [2.0, 0.0]], dtype=np.float32))
    >>> compare(rows, np.array([0]), np.array([1]), Workers(1))
    Pairs(cosine=array([0.6]), norm_n=array([5.]), norm_p=array([2.]))
    """
    if not (_is_plain(rows) and rows.in_lanes):
        return numpy_.compare(rows, n, p, pool)
    flat, bias = _arrays(rows)
    pairs = Pairs(*np.empty((3, len(n))))

    def fill(start: int, stop: int) -> None:
        part = slice(start, stop)
        loops.compare(
            flat, bias, n[part], p[part],
            pairs.cosine[part], pairs.norm_n[part], pairs.norm_p[part],
        )  # fmt: skip

    pool.halves(fill, len(n), _LEAST // flat.shape[1])
    return pairs


def shortlist(
    queries: Sequence[FloatArray],
    targets: Sequence[FloatArray],
    bias: Bias | None,
    margin: float,
    pool: Workers,
) -> Shortlist:
    """See :func:`nmcore.kernels.numpy_.shortlist`.

    Examples
    --------
    >>> query, target = np.array([[0.6, 0.8]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> shortlist([query], [target], None, 0.01, Workers(1)).column
    array([1])
    """
    cosines = numpy_.products(queries, targets)
    return _plain(cosines, margin, pool) if bias is None else _biased(cosines, bias, margin, pool)


def _plain(cosines: FloatArray, margin: float, pool: Workers) -> Shortlist:
    count, only = np.empty((2, len(cosines)), dtype=np.intp)

    def scan(start: int, stop: int) -> None:
        part = slice(start, stop)
        # NumPy finds a maximum with vector instructions; the compiler does not.
        floor = cosines[part].max(axis=1) - cosines.dtype.type(margin)
        loops.count_near(cosines[part], floor, count[part], only[part])

    pool.each(scan, len(cosines), _STRIP // cosines.shape[1])
    return _spelled_out(cosines, None, margin, pool, count, only)


def _biased(cosines: FloatArray, bias: Bias, margin: float, pool: Workers) -> Shortlist:
    count, only = np.empty((2, len(cosines)), dtype=np.intp)
    low, high = np.empty((2, len(cosines)))
    query, target = np.ascontiguousarray(bias.query), np.ascontiguousarray(bias.target)

    def scan(start: int, stop: int) -> None:
        part = slice(start, stop)
        loops.scan_biased(
            cosines[part], bias.form, bias.lam, query[part], target, margin,
            count[part], only[part], low[part], high[part],
        )  # fmt: skip

    pool.halves(scan, len(cosines), _LEAST // cosines.shape[1])
    found = _spelled_out(cosines, bias, margin, pool, count, only)
    return Shortlist(found.row, found.column, low, high)


def _spelled_out(
    cosines: FloatArray,
    bias: Bias | None,
    margin: float,
    pool: Workers,
    count: IntArray,
    only: IntArray,
) -> Shortlist:
    """List the pairs; the few rows that have several are looked at again by the NumPy kernel."""
    single, several = np.flatnonzero(count == 1), np.flatnonzero(count > 1)
    if len(several) == 0:
        return Shortlist(single, only[single], None, None)
    again = numpy_.scan(cosines[several], bias and bias.rows(several), margin, pool)
    row = np.concatenate([single, several[again.row]])
    column = np.concatenate([only[single], again.column])
    order = np.argsort(row, kind="stable")
    return Shortlist(row[order], column[order], None, None)


def distance_sums(
    products: Float64Array,
    row_squares: Float64Array,
    column_squares: Float64Array,
    pool: Workers,
) -> tuple[Float64Array, Float64Array]:
    """See :func:`nmcore.kernels.numpy_.distance_sums`.

    Examples
    --------
    >>> one = Workers(1)
    >>> rows, columns = distance_sums(np.zeros((1, 2)), np.array([9.0]), np.array([16.0, 0.0]), one)
    >>> rows, columns
    (array([8.]), array([5., 3.]))
    """
    row_sums = np.empty(len(row_squares))
    partial: list[Float64Array] = []

    def fill(start: int, stop: int) -> None:
        part, sums = slice(start, stop), np.zeros(len(column_squares))
        loops.distance_rows(products[part], row_squares[part], column_squares, row_sums[part], sums)
        partial.append(sums)

    pool.halves(fill, len(row_squares), _LEAST // len(column_squares))
    return row_sums, np.add.reduce(partial)


def fill_panel(
    M: Float64Array,
    G: Float64Array,
    panel: Panel,
    steps: int,
    removed: IntArray,
    cost: Float64Array,
) -> None:
    """See :func:`nmcore.kernels.numpy_.fill_panel`.

    Examples
    --------
    >>> state = Panel(np.array([1.0, 1.0]), np.array([3.0, 2.0]), np.empty((2, 1, 2)))
    >>> removed, cost = np.empty(1, dtype=np.intp), np.empty(1)
    >>> fill_panel(np.eye(2), np.diag([3.0, 2.0]), state, 1, removed, cost)
    >>> removed, cost
    (array([1]), array([2.]))
    """
    u, v = panel.vectors
    loops.fill_panel(M, G, panel.m, panel.g, u, v, removed[:steps], cost[:steps])
