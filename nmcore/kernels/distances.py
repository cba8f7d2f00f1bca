"""Summed Euclidean distances, and the channels with the largest ones, exactly.

The sums come from blocks of a float64 Gram matrix, each pair of channels multiplied once. Channels
so near to the cut that rounding could have moved them across it are summed again pair by pair.
"""

from __future__ import annotations

import numpy as np

from nmcore.group import Float64Array, IntArray
from nmcore.kernels.protocol import Kernel
from nmcore.kernels.rows import Rows, dot
from nmcore.kernels.threads import Workers, blas_threads

_BLOCK_BYTES = 64 << 20
_EPS = float(np.finfo(np.float64).eps)


def most_distant(rows: Rows, keep: int, kernel: Kernel, pool: Workers) -> IntArray:
    """The `keep` channels with the largest summed distance to all others; low indices win ties.

    Parameters
    ----------
    rows : Rows
        N rows.
    keep : int
        How many to return.
    kernel, pool
        Who sums, on which threads.

    Returns
    -------
    int array, shape (keep,)
        Ascending.

    Examples
    --------
    >>> from nmcore.kernels import numpy_
    >>> from nmcore.kernels.rows import make_rows
    >>> most_distant(make_rows(np.array([[0.0], [1.0], [9.0]])), 2, numpy_, Workers(1))
    array([0, 2])
    """
    sums, error = _fast_sums(rows, kernel, pool)
    order = np.argsort(-sums, kind="stable")
    if keep == len(sums):
        return np.sort(order)
    cut = sums[order[keep - 1]]
    sure = sums - error > cut + error[order[keep - 1]]
    (open_,) = np.nonzero(~sure & (sums + error >= cut - error[order[keep - 1]]))
    (kept,) = np.nonzero(sure)
    wanted = keep - len(kept)
    best = np.argsort(-_plain_sums(rows, open_, pool), kind="stable")[:wanted]
    return np.sort(np.concatenate([kept, open_[best]]))


def _fast_sums(rows: Rows, kernel: Kernel, pool: Workers) -> tuple[Float64Array, Float64Array]:
    """Sums of distances, shape (N,), and a bound on the error of each."""
    count = len(rows.weight)
    step = int(np.clip(_BLOCK_BYTES // (8 * (2 * rows.width + count)), 16, 1024))
    squares = np.empty(count)
    sums = np.zeros(count)
    for start in range(0, count, step):
        part = slice(start, start + step)
        block = rows.block(part)
        squares[part] = np.vecdot(block, block)
    for start in range(0, count, step):
        left = slice(start, start + step)
        block = rows.block(left)
        for other in range(start, count, step):
            right = slice(other, other + step)
            products = block @ (block if other == start else rows.block(right)).T
            down, across = kernel.distance_sums(products, squares[left], squares[right], pool)
            sums[left] += down
            if other != start:
                sums[right] += across
    return sums, _error(squares, rows.width)


def _error(squares: Float64Array, width: int) -> Float64Array:
    """How far rounding can move each sum.

    A squared distance errs by at most e = (D + 8) eps (a a + b b); its root then errs by at most
    sqrt(e), whatever the distance.
    """
    largest = squares.max()
    each = np.sqrt((width + 8) * _EPS * (squares + largest))
    return np.asarray(len(squares) * each)


def _plain_sums(rows: Rows, some: IntArray, pool: Workers) -> Float64Array:
    """Sums of distances as a plain loop adds them up: over all channels in order, shape (K,)."""
    everyone = np.arange(len(rows.weight))
    sums = np.zeros(len(some))

    def fill(start: int, stop: int) -> None:
        for at in range(start, stop):
            own = rows.block(some[at : at + 1])
            total = 0.0
            for first in range(0, len(everyone), rows.grain):
                gap = rows.block(slice(first, first + rows.grain))
                gap -= own
                for distance in np.sqrt(dot(gap, gap)).tolist():
                    total += distance
            sums[at] = total

    with blas_threads(1):
        pool.each(fill, len(some), 1)
    return sums
