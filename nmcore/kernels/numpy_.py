"""The kernel in plain NumPy: the twin that every other kernel must agree with.

A kernel is a module with six names: ``NAME``, :func:`unit_rows`, :func:`shortlist`,
:func:`compare`, :func:`distance_sums` and :func:`fill_panel`. All but :func:`compare` may work in
any precision within the margin they are given, since their answers are candidates: what decides
between those is computed in :mod:`nmcore.kernels.rows`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nmcore.group import Float64Array, FloatArray, IntArray
from nmcore.kernels.bias import Bias
from nmcore.kernels.protocol import Panel, Shortlist, joined
from nmcore.kernels.rows import Rows, compare, dot
from nmcore.kernels.threads import Workers, blas_threads

__all__ = ["NAME", "compare", "distance_sums", "fill_panel", "shortlist", "unit_rows"]

NAME = "numpy"
# Costs that differ by less than rounding may make them count as equal: the lower channel goes
# first.
TIE = 1e-9
# Numbers in a strip of a block: its temporaries stay in a core's cache.
_STRIP = 1 << 17


def unit_rows(
    rows: Rows, index: IntArray, pool: Workers
) -> tuple[NDArray[np.float32], Float64Array]:
    """Divide rows by their norms, in one pass over the weight.

    Parameters
    ----------
    rows : Rows
        N rows of length D.
    index : int array, shape (K,)
        Which of them.
    pool : Workers
        The threads to use.

    Returns
    -------
    unit : float32 array, shape (K, D rounded up to a multiple of 16)
        Unit rows, ended by zeros; a zero row stays zero.
    norm : float64 array, shape (K,)
        Norms, right to within a few parts in 10**13; zero only for zero rows, and not finite for
        rows that hold NaN or infinity.

    Examples
    --------
    >>> from nmcore.kernels.rows import make_rows
    >>> rows = make_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    >>> unit, norm = unit_rows(rows, np.array([0, 1]), Workers(1))
    >>> norm, unit[:, :2]
    (array([5., 0.]), array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32))
    """
    unit, norm = empty_units(rows, len(index)), np.empty(len(index))

    def fill(start: int, stop: int) -> None:
        part = slice(start, stop)
        block = rows.block(index[part])
        norm[part] = np.sqrt(dot(block, block))
        inverse = np.divide(1.0, norm[part], out=np.zeros(stop - start), where=norm[part] > 0)
        with np.errstate(invalid="ignore"):  # whoever asked looks for infinity in the norms
            unit[part, : rows.width] = np.multiply(block, inverse[:, None], out=block)

    with blas_threads(1):
        pool.each(fill, len(index), rows.grain)
    return unit, norm


def empty_units(rows: Rows, count: int) -> NDArray[np.float32]:
    """Return room for unit rows, (count, D rounded up to a multiple of 16), its end zeroed."""
    unit = np.empty((count, -(-rows.width // 16) * 16), dtype=np.float32)
    unit[:, rows.width :] = 0
    return unit


def shortlist(
    queries: Sequence[FloatArray],
    targets: Sequence[FloatArray],
    bias: Bias | None,
    margin: float,
    pool: Workers,
) -> Shortlist:
    """Find, for every query row, the targets whose score may be the best.

    Parameters
    ----------
    queries, targets : sequences of arrays, shapes (K, D_f) and (T, D_f)
        Unit rows, one array a factor; the cosine is the product of the factors' cosines.
    bias : Bias or None
        None scores a pair by its cosine alone; otherwise the score to minimise is
        ``lam (1 - cosine) + (1 - lam) B`` with B min-max normalised over the targets of a row.
    margin : float
        Targets within this much of the best score are returned too.
    pool : Workers
        The threads to use.

    Returns
    -------
    Shortlist
        Pairs sorted by row, then column, with the extremes of each row's bias distance.

    Examples
    --------
    >>> query, target = np.array([[0.6, 0.8]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> shortlist([query], [target], None, 0.01, Workers(1)).column
    array([1])
    """
    return scan(products(queries, targets), bias, margin, pool)


def products(queries: Sequence[FloatArray], targets: Sequence[FloatArray]) -> FloatArray:
    """Cosines of all pairs, shape (K, T): one matrix product a factor."""
    cosines: FloatArray = queries[0] @ targets[0].T
    for query, target in zip(queries[1:], targets[1:], strict=True):
        cosines *= query @ target.T
    return cosines


def scan(cosines: FloatArray, bias: Bias | None, margin: float, pool: Workers) -> Shortlist:
    """The pairs of a block of cosines (K, T) whose score may be the best of their row."""
    count, width = cosines.shape
    grain = max(1, _STRIP // width)
    strips: list[Shortlist | None] = [None] * -(-count // grain)

    def fill(start: int, stop: int) -> None:
        part = cosines[start:stop]
        strips[start // grain] = (
            _scan_plain(part, margin)
            if bias is None
            else _scan_biased(part, bias.rows(slice(start, stop)), margin)
        )

    pool.each(fill, count, grain)
    return joined([strip for strip in strips if strip is not None], grain)


def _scan_plain(cosines: FloatArray, margin: float) -> Shortlist:
    floor = cosines.max(axis=1) - cosines.dtype.type(margin)
    return Shortlist(*_where(cosines >= floor[:, None]), None, None)


def _where(mask: NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Return ``np.nonzero(mask)`` (K, T), which takes ten times as long where little is set."""
    row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return row, column


def _scan_biased(cosines: FloatArray, bias: Bias, margin: float) -> Shortlist:
    spread, low, high = bias.spread()
    score = bias.lam * (1 - cosines.astype(np.float64)) + (1 - bias.lam) * spread
    ceiling = np.fmin.reduce(score, axis=1) + margin
    return Shortlist(*_where(score <= ceiling[:, None]), low, high)


def distance_sums(
    products: Float64Array,
    row_squares: Float64Array,
    column_squares: Float64Array,
    pool: Workers,
) -> tuple[Float64Array, Float64Array]:
    """Sum Euclidean distances over the rows and over the columns of a block of a Gram matrix.

    Parameters
    ----------
    products : float64 array, shape (K, T)
        Dot products; overwritten.
    row_squares, column_squares : float64 arrays, shapes (K,) and (T,)
        Squared norms.
    pool : Workers
        The threads to use.

    Returns
    -------
    float64 arrays, shapes (K,) and (T,)
        Sums of sqrt(max(0, a a + b b - 2 a b)).

    Examples
    --------
    >>> one = Workers(1)
    >>> rows, columns = distance_sums(np.zeros((1, 2)), np.array([9.0]), np.array([16.0, 0.0]), one)
    >>> rows, columns
    (array([8.]), array([5., 3.]))
    """
    products *= -2
    products += row_squares[:, None]
    products += column_squares
    np.sqrt(np.maximum(products, 0, out=products), out=products)
    return products.sum(axis=1), products.sum(axis=0)


def fill_panel(
    M: Float64Array,
    G: Float64Array,
    panel: Panel,
    steps: int,
    removed: IntArray,
    cost: Float64Array,
) -> None:
    """Remove `steps` channels, leaving the matrices as they were before the first.

    Parameters
    ----------
    M, G : float64 arrays, shape (K, K)
        As :mod:`nmcore.kernels.elimination` defines them; only their upper triangles are right.
    panel : Panel
        Its diagonals are right before and after, its vectors after.
    steps : int
        How many channels to remove.
    removed, cost : arrays, shape (steps,)
        Written: their positions and what each adds to the error.

    Examples
    --------
    >>> state = Panel(np.array([1.0, 1.0]), np.array([3.0, 2.0]), np.empty((2, 1, 2)))
    >>> removed, cost = np.empty(1, dtype=np.intp), np.empty(1)
    >>> fill_panel(np.eye(2), np.diag([3.0, 2.0]), state, 1, removed, cost)
    >>> removed, cost
    (array([1]), array([2.]))
    """
    u, v = panel.vectors
    for t in range(steps):
        score = np.maximum(panel.g, 0) / panel.m
        score[np.isinf(panel.m)] = np.inf
        least = score.min()
        j = int(np.argmax(score <= least + TIE * abs(least)))
        removed[t], cost[t] = j, score[j]
        m = _row(M, j)
        m -= u[:t, j] @ u[:t]
        g = _row(G, j)
        g -= u[:t, j] @ v[:t]
        g -= v[:t, j] @ u[:t]
        root = np.sqrt(m[j])
        u[t] = m / root
        v[t] = g / root - u[t] * (g[j] / (2 * m[j]))
        panel.m[:] -= u[t] * u[t]
        panel.g[:] -= 2 * u[t] * v[t]
        panel.m[j], panel.g[j] = np.inf, 0


def _row(A: Float64Array, j: int) -> Float64Array:
    """Return row j of a symmetric matrix of which the upper triangle is right."""
    return np.concatenate([A[:j, j], A[j, j:]])
