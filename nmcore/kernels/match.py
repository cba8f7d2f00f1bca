"""MostSim: the most similar kept row for every removed row, exactly, in bounded memory.

For each block of removed rows a kernel multiplies unit rows in float32 and shortlists every
target within twice the rounding error of the best. Rows with many near ties are shortlisted again
in float64. What is left, nearly always one pair a row, is decided in canonical arithmetic (see
:mod:`nmcore.kernels.rows`); the lowest kept index wins exact ties. So every kernel and thread count
gives the same answer, and for float64 weights that of a plain loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from nmcore import errors
from nmcore.group import Float64Array, IntArray
from nmcore.kernels import numpy_
from nmcore.kernels.bias import Bias, normalised
from nmcore.kernels.protocol import Kernel, Shortlist
from nmcore.kernels.rows import Rows
from nmcore.kernels.threads import Workers, blas_threads

_BLOCK_BYTES = 64 << 20
_MOST_ROWS = 1024
_LEAST_ROWS = 128
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
class _Side:
    """The removed or the kept rows of a block, ready for products.

    Attributes
    ----------
    channel : int array, shape (K,)
        Which channels they are.
    units : sequence of float32 arrays, shape (K, ...)
        Unit rows, one array a factor.
    norms : sequence of float64 arrays, shape (K,)
        Approximate norms, one array a factor.
    """

    channel: IntArray
    units: Sequence[NDArray[np.float32]]
    norms: Sequence[Float64Array]

    @property
    def some(self) -> NDArray[np.bool_]:
        """Which rows are not zero, shape (K,)."""
        result: NDArray[np.bool_] = np.min(self.norms, axis=0) > 0
        return result


@dataclass(frozen=True, eq=False)
class _Problem:
    """What stays the same for all blocks; ``target_norms`` (T,) are canonical."""

    factors: Sequence[Rows]
    targets: _Side
    target_norms: Float64Array
    bias_of: BiasOf | None
    kernel: Kernel
    pool: Workers


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
    result = _no_matches(len(removed))
    targets, position = _targets(factors, kept, kernel, pool)
    target_norms = (
        np.empty(0) if bias_of is None else _norms(factors, targets.channel, kernel, pool)
    )
    problem = _Problem(factors, targets, target_norms, bias_of, kernel, Workers(1))

    def fill(start: int, stop: int) -> None:
        part = slice(start, stop)
        block = _match_block(problem, removed[part])
        found = block.position >= 0
        result.position[part][found] = position[block.position[found]]
        result.scale[part] = block.scale
        result.similarity[part] = block.similarity

    # A block a thread, and one thread of BLAS for each: OpenBLAS's own threads spin on for a tenth
    # of a second after a product, and take the processors from the passes that come next.
    with blas_threads(1):
        step = _block_rows(factors, len(position), len(removed), pool.threads)
        pool.each(fill, len(removed), step)
    return result


def _no_matches(count: int) -> Matches:
    return Matches(np.full(count, -1, dtype=np.intp), np.zeros(count), np.zeros(count))


def _block_rows(factors: Sequence[Rows], targets: int, removed: int, threads: int) -> int:
    """How many removed rows a thread takes at a time.

    The arrays of all threads together stay within bounds, and all threads have as much to do.
    """
    row_bytes = sum(4 * rows.width for rows in factors) + 4 * targets
    most = int(np.clip(_BLOCK_BYTES // (threads * row_bytes), _LEAST_ROWS, _MOST_ROWS))
    turns = max(1, -(-removed // (most * threads)))
    return max(_LEAST_ROWS, -(-removed // (turns * threads)))


def _targets(
    factors: Sequence[Rows], kept: IntArray, kernel: Kernel, pool: Workers
) -> tuple[_Side, IntArray]:
    """Return the kept rows that are not zero, and their positions in `kept`."""
    targets = _side(factors, kept, kernel, pool)
    (position,) = np.nonzero(targets.some)
    if len(position) < len(kept):
        targets = _side(factors, kept[position], kernel, pool)
    return targets, position


def _side(factors: Sequence[Rows], channel: IntArray, kernel: Kernel, pool: Workers) -> _Side:
    """Make some channels' rows ready."""
    made = [kernel.unit_rows(rows, channel, pool) for rows in factors]
    if not np.isfinite([norm for _, norm in made]).all():
        raise errors.not_finite("weight")
    return _Side(channel, [unit for unit, _ in made], [norm for _, norm in made])


def _match_block(problem: _Problem, removed: IntArray) -> Matches:
    queries = _side(problem.factors, removed, problem.kernel, problem.pool)
    if len(problem.targets.channel) == 0:
        return _no_matches(len(removed))
    bias = _bias(problem, removed)
    found = problem.kernel.shortlist(
        queries.units,
        problem.targets.units,
        bias,
        _margin(problem.factors, bias, np.float32),
        problem.pool,
    )
    return _decide(problem, queries, bias, _refine(problem, queries, bias, found))


def _bias(problem: _Problem, removed: IntArray) -> Bias | None:
    """Return the numbers of the bias distance, from canonical norms."""
    if problem.bias_of is None:
        return None
    query_norms = _norms(problem.factors, removed, problem.kernel, problem.pool)
    return problem.bias_of(query_norms, removed, problem.target_norms, problem.targets.channel)


def _norms(
    factors: Sequence[Rows], channel: IntArray, kernel: Kernel, pool: Workers
) -> Float64Array:
    """Return the canonical norms of some channels' rows, multiplied over the factors."""
    return _product([kernel.compare(rows, channel, channel, pool).norm_n for rows in factors])


def _product(arrays: Sequence[Float64Array]) -> Float64Array:
    """Multiply one array a factor, first to last."""
    return reduce(np.multiply, arrays)


def _margin(
    factors: Sequence[Rows], bias: Bias | None, dtype: type[np.float32] | type[np.float64]
) -> float:
    """Return twice the most by which a block product can miss a score.

    A dot product of unit vectors of length D in precision u errs by at most D u, whatever the order
    of its sum (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1); rounding
    the vectors to unit length and the last operations add a few u more.
    """
    unit = float(np.finfo(dtype).eps) / 2
    cosine = sum((rows.width + 16) * unit for rows in factors) * 1.01
    if bias is None:
        return 2 * cosine
    return 2 * (bias.lam * cosine + 8 * float(np.finfo(np.float64).eps))


def _refine(problem: _Problem, queries: _Side, bias: Bias | None, found: Shortlist) -> Shortlist:
    """Shortlist again in float64 the rows that have too many candidates; drop rows of zeros."""
    some = queries.some
    count = np.bincount(found.row, minlength=len(some))
    crowded = np.flatnonzero((count > _MANY) & some)
    if len(crowded) == 0 and some.all():
        return found
    calm = ((count <= _MANY) & some)[found.row]
    row, column = [found.row[calm]], [found.column[calm]]
    # A few rows at a time: their float64 cosines to all targets are held at once.
    step = max(1, _BLOCK_BYTES // (8 * len(problem.targets.channel)))
    for start in range(0, len(crowded), step):
        part = crowded[start : start + step]
        again = numpy_.scan(
            _precise_cosines(problem, queries.channel[part]),
            None if bias is None else bias.rows(part),
            _margin(problem.factors, bias, np.float64),
            problem.pool,
        )
        row.append(part[again.row])
        column.append(again.column)
    rows, columns = np.concatenate(row), np.concatenate(column)
    order = np.lexsort((columns, rows))
    return Shortlist(rows[order], columns[order], found.low, found.high)


def _precise_cosines(problem: _Problem, channel: IntArray) -> Float64Array:
    """Return cosines of a few rows to all targets by float64 products, shape (K, T)."""
    kept = problem.targets.channel
    cosines = np.ones((len(channel), len(kept)))
    for rows in problem.factors:
        unit = _precise_units(rows, channel)
        step = max(rows.grain, 64)
        for start in range(0, len(kept), step):
            part = slice(start, start + step)
            cosines[:, part] *= unit @ _precise_units(rows, kept[part]).T
    return cosines


def _precise_units(rows: Rows, channel: IntArray) -> Float64Array:
    block = rows.block(channel)
    block /= np.linalg.norm(block, axis=1, keepdims=True)
    return block


def _decide(problem: _Problem, queries: _Side, bias: Bias | None, found: Shortlist) -> Matches:
    """Choose each row's best candidate in canonical arithmetic; the lowest index wins a tie."""
    result = _no_matches(len(queries.channel))
    row, column = found.row, found.column
    if len(row) == 0:
        return result
    cosine, scale = _compare(problem, queries.channel[row], problem.targets.channel[column])
    if bias is None:
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
    result.position[chosen] = column[first]
    result.scale[chosen] = scale[first]
    result.similarity[chosen] = cosine[first]
    return result


def _compare(problem: _Problem, n: IntArray, p: IntArray) -> tuple[Float64Array, Float64Array]:
    """Return canonical cosines of pairs of channels and the ratios of their norms, shape (M,)."""
    pairs = [problem.kernel.compare(rows, n, p, problem.pool) for rows in problem.factors]
    norm_n = _product([pair.norm_n for pair in pairs])
    norm_p = _product([pair.norm_p for pair in pairs])
    with np.errstate(all="ignore"):
        return _product([pair.cosine for pair in pairs]), norm_n / norm_p


def _first_best(row: IntArray, score: Float64Array) -> IntArray:
    """Return where each row's first least score stands; `row` ascends."""
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    least = np.minimum.reduceat(score, starts)
    (ties,) = np.nonzero(score == np.repeat(least, np.diff(starts, append=len(row))))
    return ties[np.flatnonzero(np.diff(row[ties], prepend=-1))]
