"""The kernel that fuses everything after the matrix product into one compiled pass over each row.

Compiled once and cached on disk. The functions release the interpreter lock and take ranges of
rows, so that the same thread pool drives them as drives NumPy's passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from nmcore.group import Float64Array, FloatArray, IntArray
from nmcore.kernels import bias as formulas
from nmcore.kernels import numpy_
from nmcore.kernels.bias import LIMIT, RELEASED, Bias
from nmcore.kernels.protocol import Panel, Shortlist
from nmcore.kernels.rows import LANES, Pairs, Rows
from nmcore.kernels.threads import Workers

NAME = "numba"
# Waking a thread costs as much as passing over this many numbers.
_LEAST = 1 << 18
# Numbers in a strip of a block: they are read twice, the second time from a core's cache.
_STRIP = 1 << 18

F = TypeVar("F", bound=Callable[..., Any])


def _compiled(function: F) -> F:
    # numpy's error model: dividing by zero gives infinity, as it does in the NumPy kernel.
    return cast(F, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


def _reordered(function: F) -> F:
    # Without leave to reorder sums, the compiler would not use vector instructions.
    flags = {"nsz", "reassoc"}
    return cast(
        F, numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=flags)(function)
    )


_released = _compiled(formulas.released)
_folded = _compiled(formulas.folded)


@_reordered
def _unit_rows(
    weight: FloatArray,
    bias: FloatArray,
    index: IntArray,
    unit: NDArray[np.float32],
    norm: Float64Array,
) -> None:
    """Divide the rows [W | b] at `index` by their norms, while each is in the cache.

    `bias` may be empty.
    """
    width = weight.shape[1]
    for k in range(index.size):
        row = weight[index[k]]
        square = 0.0
        for d in range(width):
            square += np.float64(row[d]) * np.float64(row[d])
        if bias.size:
            square += np.float64(bias[index[k]]) * np.float64(bias[index[k]])
        norm[k] = np.sqrt(square)
        inverse = 1 / norm[k] if square > 0 else 0.0
        for d in range(width):
            unit[k, d] = row[d] * inverse
        if bias.size:
            unit[k, width] = bias[index[k]] * inverse


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
        _unit_rows(flat, bias, index[part], unit[part], norm[part])

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


@_compiled
def _fold(lanes: Float64Array) -> float:
    """Add the lanes by halves; they are overwritten."""
    half = lanes.size // 2
    while half:
        for lane in range(half):
            lanes[lane] += lanes[half + lane]
        half //= 2
    return float(lanes[0])


# Not reordered: the lanes fix the order of the sums, and are what lets the compiler use vectors.
@_compiled
def _compare(
    weight: FloatArray,
    bias: Float64Array,
    n: IntArray,
    p: IntArray,
    cosine: Float64Array,
    norm_n: Float64Array,
    norm_p: Float64Array,
) -> None:
    """Write the canonical numbers of pairs of rows [W | b] (M,), summed in lanes."""
    width = weight.shape[1]
    whole = width - width % LANES
    aa, bb, ab = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    for k in range(n.size):
        row_a, row_b = weight[n[k]], weight[p[k]]
        aa[:], bb[:], ab[:] = 0.0, 0.0, 0.0
        for start in range(0, whole, LANES):
            for lane in range(LANES):
                x, y = np.float64(row_a[start + lane]), np.float64(row_b[start + lane])
                aa[lane] += x * x
                bb[lane] += y * y
                ab[lane] += x * y
        for lane in range(width - whole):
            x, y = np.float64(row_a[whole + lane]), np.float64(row_b[whole + lane])
            aa[lane] += x * x
            bb[lane] += y * y
            ab[lane] += x * y
        if bias.size:
            x, y = bias[n[k]], bias[p[k]]
            aa[width - whole] += x * x
            bb[width - whole] += y * y
            ab[width - whole] += x * y
        norm_n[k], norm_p[k] = np.sqrt(_fold(aa)), np.sqrt(_fold(bb))
        cosine[k] = _fold(ab) / (norm_n[k] * norm_p[k])


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
        _compare(
            flat, bias, n[part], p[part],
            pairs.cosine[part], pairs.norm_n[part], pairs.norm_p[part],
        )  # fmt: skip

    pool.halves(fill, len(n), _LEAST // flat.shape[1])
    return pairs


@_reordered
def _count_near(cosines: FloatArray, floor: FloatArray, count: IntArray, only: IntArray) -> None:
    """For each row (K, T): how many cosines reach its floor, and where.

    ``only`` holds the sum of the columns, which is the column where there is one.
    """
    for k in range(cosines.shape[0]):
        row = cosines[k]
        reached, where = 0, 0
        for t in range(row.size):
            hit = row[t] >= floor[k]
            reached += hit
            where += t * hit
        count[k], only[k] = reached, where


@_compiled
def _bias_row(form: int, query: Float64Array, target: Float64Array, out: Float64Array) -> None:
    """Bias distances of one query to all targets (T,); NaN where there is none."""
    for t in range(out.size):
        if form == RELEASED:
            scale, distance = _released(
                query[0], query[1], query[2], query[3],
                target[0, t], target[1, t], target[2, t],
                target[3, t], target[4, t], target[5, t],
            )  # fmt: skip
        else:
            scale, distance = _folded(query[0], query[1], target[0, t], target[1, t])
        usable = abs(scale) < LIMIT and abs(distance) < LIMIT
        out[t] = distance if usable else np.nan


@_compiled
def _score_row(
    cosines: FloatArray,
    form: int,
    lam: float,
    query: Float64Array,
    target: Float64Array,
    out: Float64Array,
) -> tuple[float, float, float]:
    """Scores of one query (T,); returns the least and greatest distance and the least score."""
    _bias_row(form, query, target, out)
    low, high = np.inf, -np.inf
    for t in range(out.size):
        if out[t] < low:
            low = out[t]
        if out[t] > high:
            high = out[t]
    span = high - low
    if not span > 0:
        span = 1.0
    least = np.inf
    for t in range(out.size):
        out[t] = lam * (1 - cosines[t]) + (1 - lam) * ((out[t] - low) / span)
        if out[t] < least:
            least = out[t]
    return low, high, least


@_compiled
def _scan_biased(
    cosines: FloatArray,
    form: int,
    lam: float,
    query: Float64Array,
    target: Float64Array,
    margin: float,
    count: IntArray,
    only: IntArray,
    low: Float64Array,
    high: Float64Array,
) -> None:
    """For each row (K, T): how many scores come within the margin of the least, and where."""
    score = np.empty(cosines.shape[1])
    for k in range(cosines.shape[0]):
        low[k], high[k], least = _score_row(cosines[k], form, lam, query[k], target, score)
        reached, where = 0, 0
        for t in range(score.size):
            if score[t] <= least + margin:
                reached += 1
                where += t
        count[k], only[k] = reached, where


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
        _count_near(cosines[part], floor, count[part], only[part])

    pool.each(scan, len(cosines), _STRIP // cosines.shape[1])
    return _spelled_out(cosines, None, margin, pool, count, only)


def _biased(cosines: FloatArray, bias: Bias, margin: float, pool: Workers) -> Shortlist:
    count, only = np.empty((2, len(cosines)), dtype=np.intp)
    low, high = np.empty((2, len(cosines)))
    query, target = np.ascontiguousarray(bias.query), np.ascontiguousarray(bias.target)

    def scan(start: int, stop: int) -> None:
        part = slice(start, stop)
        _scan_biased(
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


@_compiled
def _distance_rows(
    products: Float64Array,
    row_squares: Float64Array,
    column_squares: Float64Array,
    row_sums: Float64Array,
    column_sums: Float64Array,
) -> None:
    """Add up sqrt(max(0, a a + b b - 2 a b)) over each row and each column of a block."""
    for k in range(products.shape[0]):
        row = products[k]
        for t in range(row.size):
            row[t] = np.sqrt(max(0.0, row_squares[k] + column_squares[t] - 2 * row[t]))
            column_sums[t] += row[t]
        row_sums[k] = row.sum()


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
        _distance_rows(products[part], row_squares[part], column_squares, row_sums[part], sums)
        partial.append(sums)

    pool.halves(fill, len(row_squares), _LEAST // len(column_squares))
    return row_sums, np.add.reduce(partial)


@_reordered
def _remove(
    M: Float64Array,
    G: Float64Array,
    m: Float64Array,
    g: Float64Array,
    u: Float64Array,
    v: Float64Array,
    t: int,
    j: int,
) -> None:
    """Write the vectors of removal `t`, that of channel `j`, and bring the diagonals up to date."""
    for k in range(m.size):
        u[t, k] = M[k, j] if k < j else M[j, k]
        v[t, k] = G[k, j] if k < j else G[j, k]
    for i in range(t):
        ui, vi = u[i, j], v[i, j]
        for k in range(m.size):
            u[t, k] -= ui * u[i, k]
            v[t, k] -= ui * v[i, k] + vi * u[i, k]
    d, e = u[t, j], v[t, j]
    root = 1 / np.sqrt(d)
    share = e / (2 * d)
    for k in range(m.size):
        u[t, k] *= root
        v[t, k] = v[t, k] * root - u[t, k] * share
        m[k] -= u[t, k] * u[t, k]
        g[k] -= 2 * u[t, k] * v[t, k]
    m[j], g[j] = np.inf, 0.0


@_compiled
def _cheapest(m: Float64Array, g: Float64Array, score: Float64Array) -> int:
    """Return the first channel whose cost is within rounding of the least."""
    least = np.inf
    for k in range(m.size):
        score[k] = max(g[k], 0.0) / m[k] if m[k] < np.inf else np.inf
        least = min(least, score[k])
    for k in range(m.size):
        if score[k] <= least + numpy_.TIE * abs(least):
            return k
    return -1


@_compiled
def _fill_panel(
    M: Float64Array,
    G: Float64Array,
    m: Float64Array,
    g: Float64Array,
    u: Float64Array,
    v: Float64Array,
    removed: IntArray,
    cost: Float64Array,
) -> None:
    score = np.empty(m.size)
    for t in range(removed.size):
        j = _cheapest(m, g, score)
        removed[t], cost[t] = j, score[j]
        _remove(M, G, m, g, u, v, t, j)


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
    _fill_panel(M, G, panel.m, panel.g, u, v, removed[:steps], cost[:steps])
