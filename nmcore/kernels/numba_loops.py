"""The loops of the numba kernel, compiled.

Each is compiled once and cached on disk. They release the interpreter lock and take ranges of rows,
so that the thread pool that drives NumPy's passes drives them too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from nmcore.group import Float64Array, FloatArray, IntArray
from nmcore.kernels import bias as formulas
from nmcore.kernels.bias import LIMIT, RELEASED
from nmcore.kernels.numpy_ import TIE
from nmcore.kernels.rows import LANES

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
def unit_rows(
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
def compare(
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


@_reordered
def count_near(cosines: FloatArray, floor: FloatArray, count: IntArray, only: IntArray) -> None:
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
def scan_biased(
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


@_compiled
def distance_rows(
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
        if score[k] <= least + TIE * abs(least):
            return k
    return -1


@_compiled
def fill_panel(
    M: Float64Array,
    G: Float64Array,
    m: Float64Array,
    g: Float64Array,
    u: Float64Array,
    v: Float64Array,
    removed: IntArray,
    cost: Float64Array,
) -> None:
    """Choose and remove the cheapest channels one by one, as many as `removed` has room for."""
    score = np.empty(m.size)
    for t in range(removed.size):
        j = _cheapest(m, g, score)
        removed[t], cost[t] = j, score[j]
        _remove(M, G, m, g, u, v, t, j)
