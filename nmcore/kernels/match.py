"""MostSim: the most similar kept row for every removed row, exactly, in bounded memory.

For each block of removed rows a kernel multiplies unit rows in float32 and shortlists every target
within twice the rounding error of the best. Rows with many near ties are shortlisted again in float64.
What is left, nearly always one pair a row, is decided in canonical arithmetic; the lowest kept index
wins exact ties. So every kernel, thread count and precision gives the answer of a plain float64 loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmcore.group import IntArray
from nmcore.kernels import numpy_
from nmcore.kernels.bias import Bias, Float64Array, normalised
from nmcore.kernels.protocol import Kernel, Shortlist
from nmcore.kernels.rows import Prepared, Rows, dot, prepare
from nmcore.kernels.threads import Workers, blas_threads

_BLOCK_BYTES = 64 << 20
_MOST_ROWS = 1024
# A row with more near ties than this is looked at again in float64.
_MANY = 16

BiasOf = Callable[[Float64Array, IntArray, Float64Array, IntArray], Bias]
"""From norms and indices of removed and of kept channels to the numbers of the bias distance."""


@dataclass(frozen=True, eq=False)
class Matches:
    """The best target of every removed row.

    Attributes
    ----------
    position : int array, shape (R,)
        Position in the kept channels, or -1 where no target can be used.
    scale : float64 array, shape (R,)
        The factor of that channel; 0 where there is none.
    similarity : float64 array, shape (R,)
        The cosine to it; 0 where there is none.
    """

    position: IntArray
    scale: Float64Array
    similarity: Float64Array


@dataclass(frozen=True, eq=False)
class _Targets:
    """The kept rows that are not zero, ready for products."""

    factors: Sequence[Rows]
    prepared: Sequence[Prepared]
    position: IntArray
    channel: IntArray
    norm: Float64Array


def best_matches(
    factors: Sequence[Rows],
    kept: IntArray,
    removed: IntArray,
    bias_of: BiasOf | None,
    kernel: Kernel,
    pool: Workers,
) -> Matches:
    """Match every removed row with its most similar kept row.

    Parameters
    ----------
    factors : sequence of Rows
        One, or the two factors of an outer product: cosines and norms are then multiplied.
    kept, removed : int arrays, shapes (P,) and (R,)
        Channels.
    bias_of : callable or None
        Adds the bias distance to the score.
    kernel : Kernel
        Who makes the shortlists.
    pool : Workers
        The threads.

    Returns
    -------
    Matches

    Notes
    -----
    A zero row is like nothing: a removed one has no match and a kept one is nobody's match.

    Examples
    --------
    >>> from nmcore.kernels.rows import make_rows
    >>> rows = make_rows(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 5.0]]))
    >>> found = best_matches([rows], np.array([0, 1]), np.array([2]), None, numpy_, Workers(1))
    >>> found.position, found.scale
    (array([1]), array([5.]))
    """
    result = Matches(
        np.full(len(removed), -1, dtype=np.intp), np.zeros(len(removed)), np.zeros(len(removed))
    )
    targets = _targets(factors, kept, pool)
    if len(targets.channel) == 0:
        return result
    step = _block_rows(factors, len(targets.channel))
    for start in range(0, len(removed), step):
        part = slice(start, start + step)
        block = _match_block(factors, removed[part], targets, bias_of, kernel, pool)
        result.position[part] = block.position
        result.scale[part] = block.scale
        result.similarity[part] = block.similarity
    return result


def _block_rows(factors: Sequence[Rows], targets: int) -> int:
    """How many removed rows to take at a time, so that a block's arrays stay within bounds."""
    row_bytes = sum(12 * rows.width for rows in factors) + 4 * targets
    return int(np.clip(_BLOCK_BYTES // row_bytes, 16, _MOST_ROWS))


def _targets(factors: Sequence[Rows], kept: IntArray, pool: Workers) -> _Targets:
    prepared = [prepare(rows, kept, pool, exact=False) for rows in factors]
    norm = _common_norm(factors, prepared, kept)
    (position,) = np.nonzero(norm > 0)
    if len(position) < len(kept):
        prepared = [Prepared(p.unit[position], p.norm[position], None) for p in prepared]
    return _Targets(factors, prepared, position, kept[position], norm[position])


def _common_norm(
    factors: Sequence[Rows], prepared: Sequence[Prepared], index: IntArray
) -> Float64Array:
    norms = [
        rows.in_common_unit(ready.norm, index) for rows, ready in zip(factors, prepared, strict=True)
    ]
    return norms[0] if len(norms) == 1 else np.multiply(*norms)


def _match_block(
    factors: Sequence[Rows],
    removed: IntArray,
    targets: _Targets,
    bias_of: BiasOf | None,
    kernel: Kernel,
    pool: Workers,
) -> Matches:
    queries = [prepare(rows, removed, pool, exact=True) for rows in factors]
    norm = _common_norm(factors, queries, removed)
    bias = None if bias_of is None else bias_of(norm, removed, targets.norm, targets.channel)
    found = kernel.shortlist(
        [query.unit for query in queries],
        [target.unit for target in targets.prepared],
        bias,
        _margin(factors, bias, np.float32),
        pool,
    )
    found = _refine(found, queries, targets, bias, norm, pool)
    return _decide(found, queries, targets, bias, norm, pool)


def _margin(
    factors: Sequence[Rows], bias: Bias | None, dtype: type[np.float32] | type[np.float64]
) -> float:
    """Twice the most by which a block product can miss a score.

    A dot product of unit vectors of length D in precision u errs by at most D u, whatever the order
    of its sum (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1); rounding
    the vectors to unit length and the last operations add a few u more.
    """
    unit = float(np.finfo(dtype).eps) / 2
    cosine = sum((rows.width + 16) * unit for rows in factors) * 1.01
    if bias is None:
        return 2 * cosine
    return 2 * (bias.lam * cosine + 8 * float(np.finfo(np.float64).eps))


def _refine(
    found: Shortlist,
    queries: Sequence[Prepared],
    targets: _Targets,
    bias: Bias | None,
    norm: Float64Array,
    pool: Workers,
) -> Shortlist:
    """Shortlist again in float64 the rows that have too many candidates; drop rows of zeros."""
    count = np.bincount(found.row, minlength=len(norm))
    crowded = np.flatnonzero((count > _MANY) & (norm > 0))
    calm = (count[found.row] <= _MANY) & (norm[found.row] > 0)
    row, column = found.row[calm], found.column[calm]
    # A few rows at a time: their float64 cosines to all targets are held at once.
    step = max(1, _BLOCK_BYTES // (8 * len(targets.channel)))
    for start in range(0, len(crowded), step):
        some = crowded[start : start + step]
        again = numpy_.scan(
            _exact_cosines(queries, some, targets),
            None if bias is None else bias.rows(some),
            _margin(targets.factors, bias, np.float64),
            pool,
        )
        row = np.concatenate([row, some[again.row]])
        column = np.concatenate([column, again.column])
    order = np.lexsort((column, row))
    return Shortlist(row[order], column[order], found.low, found.high)


def _exact_cosines(
    queries: Sequence[Prepared], some: IntArray, targets: _Targets
) -> Float64Array:
    """Cosines of a few rows to all targets by float64 products, shape (len(some), T)."""
    cosines = np.ones((len(some), len(targets.channel)))
    for query, rows, target in zip(queries, targets.factors, targets.prepared, strict=True):
        assert query.exact is not None
        unit = query.exact[some] / query.norm[some, None]
        step = max(rows.grain, 16)
        for start in range(0, len(targets.channel), step):
            part = slice(start, start + step)
            block = rows.block(targets.channel[part])
            cosines[:, part] *= unit @ (block / target.norm[part, None]).T
    return cosines


def _decide(
    found: Shortlist,
    queries: Sequence[Prepared],
    targets: _Targets,
    bias: Bias | None,
    norm: Float64Array,
    pool: Workers,
) -> Matches:
    """Choose each row's best candidate in canonical arithmetic; the lowest index wins a tie."""
    count = len(norm)
    result = Matches(np.full(count, -1, dtype=np.intp), np.zeros(count), np.zeros(count))
    row, column = found.row, found.column
    if len(row) == 0:
        return result
    cosine = _cosines(row, column, queries, targets, pool)
    if bias is None:
        with np.errstate(all="ignore"):
            scale = norm[row] / targets.norm[column]
        score = -cosine
    else:
        assert found.low is not None
        assert found.high is not None
        scale, distance = bias.pairs(row, column)
        spread = normalised(distance, found.low[row], found.high[row])
        score = bias.lam * (1 - cosine) + (1 - bias.lam) * spread
    score[~np.isfinite(scale)] = np.inf
    first = _first_best(row, score)
    first = first[np.isfinite(score[first])]
    chosen = row[first]
    result.position[chosen] = targets.position[column[first]]
    result.scale[chosen] = scale[first]
    result.similarity[chosen] = cosine[first]
    return result


def _first_best(row: IntArray, score: NDArray[np.floating]) -> IntArray:
    """Where each row's first least score stands; `row` ascends."""
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    least = np.minimum.reduceat(score, starts)
    (ties,) = np.nonzero(score == np.repeat(least, np.diff(starts, append=len(row))))
    return ties[np.flatnonzero(np.diff(row[ties], prepend=-1))]


def _cosines(
    row: IntArray,
    column: IntArray,
    queries: Sequence[Prepared],
    targets: _Targets,
    pool: Workers,
) -> Float64Array:
    """Canonical cosines of pairs, each ``dot(a, b) / (norm(a) * norm(b))``, shape (M,)."""
    cosine = np.ones(len(row))
    for query, rows, target in zip(queries, targets.factors, targets.prepared, strict=True):
        exact = query.exact
        assert exact is not None
        products = np.empty(len(row))

        def fill(
            start: int,
            stop: int,
            exact: Float64Array = exact,
            rows: Rows = rows,
            products: Float64Array = products,
        ) -> None:
            part = slice(start, stop)
            other = rows.block(targets.channel[column[part]])
            products[part] = dot(exact[row[part]], other)

        with blas_threads(1):
            pool.each(fill, len(row), rows.grain)
        cosine *= products / (query.norm[row] * target.norm[column])
    return cosine
