"""Canonical arithmetic on weight rows: one float64 definition of norm and dot product.

Fast passes may work in any precision and any order, because they only shortlist; whatever decides a
result is computed as defined here, with ``norm(a) = sqrt(dot(a, a))``:

* float64 weights: ``dot`` is NumPy's of two contiguous rows, on one thread, so that a plain program
  gets the same bits;
* narrower weights: products are summed in 64 lanes, entry d in lane d modulo 64, and the lanes are
  added by halves. A compiled pass can do that without copying rows to float64 first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nmcore.group import Float64Array, FloatArray, IntArray
from nmcore.kernels.threads import Workers, blas_threads

# Rows whose largest entry lies outside 2**-400 .. 2**400 are rescaled before they are squared.
_SAFE_EXPONENT = 400
# A part of a core's second-level cache, and small enough for memory to be reused, not mapped anew.
_CHUNK_BYTES = 1 << 18


LANES = 64


def dot(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return ``np.dot(a[k], b[k])`` for the rows of `a` and `b` (K, D), shape (K,).

    Call it under ``blas_threads(1)``: OpenBLAS splits dot products of more than 10,000 terms over
    its threads, and their sum would then depend on how many there are.

    Examples
    --------
    >>> dot(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    array([11.])
    """
    result: Float64Array = np.vecdot(a, b)
    return result


def lane_dot(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return dot products of the rows of `a` and `b` (K, D), summed in lanes, shape (K,).

    Examples
    --------
    >>> lane_dot(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    array([11.])
    """
    count, width = a.shape
    whole = width - width % LANES
    products = a * b
    lanes = np.zeros((count, LANES))
    # Adding up along the middle axis goes from first to last, unlike along the last one.
    np.add.reduce(products[:, :whole].reshape(count, -1, LANES), axis=1, out=lanes)
    lanes[:, : width - whole] += products[:, whole:]
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows that are compared: a weight, perhaps a bias column, perhaps a factor a row.

    Attributes
    ----------
    weight : array, shape (N, ...)
        Any strides and float type; it is read block by block and never copied whole.
    bias : array, shape (N,), or None
        One more column.
    factor : float64 array, shape (N,), or None
        Multiplies every row, as folding a batch norm does.
    exponent : int array, shape (N,), or None
        Each row is divided by two to this power, which is exact, where squares would leave the
        range of float64.

    Examples
    --------
    >>> rows = Rows(np.array([[3.0], [6.0]], dtype=np.float32), bias=np.array([4.0, 8.0]))
    >>> rows.block(np.array([1]))
    array([[6., 8.]])
    """

    weight: FloatArray
    bias: FloatArray | None = None
    factor: Float64Array | None = None
    exponent: IntArray | None = None

    @property
    def width(self) -> int:
        """D, the length of a row."""
        return int(self.weight[0].size) + (self.bias is not None)

    @property
    def in_lanes(self) -> bool:
        """Whether dot products of these rows are summed in lanes."""
        return _is_narrow(self.weight.dtype) and self.factor is None

    def dot(self, a: Float64Array, b: Float64Array) -> Float64Array:
        """Return canonical dot products of two blocks of these rows (K, D), shape (K,)."""
        return lane_dot(a, b) if self.in_lanes else dot(a, b)

    @property
    def grain(self) -> int:
        """How many rows fit a core's cache as float64."""
        return max(1, _CHUNK_BYTES // (8 * self.width))

    def block(self, index: IntArray | slice, out: Float64Array | None = None) -> Float64Array:
        """The rows at `index` as one contiguous float64 array, shape (K, D)."""
        # take() copies whole rows, several times faster than indexing does.
        taken = self.weight[index] if isinstance(index, slice) else self.weight.take(index, axis=0)
        count = len(taken)
        if out is None:
            out = np.empty((count, self.width))
        plain = out if self.bias is None else out[:, :-1]
        plain[...] = taken.reshape(count, -1)
        if self.bias is not None:
            out[:, -1] = self.bias[index]
        if self.factor is not None:
            out *= self.factor[index][:, None]
        if self.exponent is not None:
            np.ldexp(out, -self.exponent[index][:, None], out=out)
        return out

    def in_common_unit(self, norms: Float64Array, index: IntArray) -> Float64Array:
        """Norms of rescaled rows made comparable with each other; ratios keep every bit."""
        if self.exponent is None:
            return norms
        return np.ldexp(norms, self.exponent[index] - int(self.exponent.max()))


def make_rows(
    weight: FloatArray,
    bias: FloatArray | None = None,
    factor: Float64Array | None = None,
    *,
    uniform: bool = False,
) -> Rows:
    """Wrap a weight (N, ...), finding the rows whose squares would overflow or vanish.

    With `uniform`, all rows are rescaled alike, so that distances between them keep their ratios.

    Examples
    --------
    >>> make_rows(np.array([[1e-300], [1.0]])).exponent
    array([-996,    1])
    >>> make_rows(np.array([[2.0], [1.0]])).exponent is None
    True
    """
    rows = Rows(weight, bias, factor)
    if factor is None and all(_is_narrow(a.dtype) for a in (weight, bias) if a is not None):
        return rows  # squares of float32 numbers always fit float64
    largest = np.zeros(len(weight))
    for start in range(0, len(weight), rows.grain):
        part = slice(start, start + rows.grain)
        block = rows.block(part)
        largest[part] = np.maximum(block.max(axis=1), -block.min(axis=1))
    exponent = np.frexp(largest)[1].astype(np.intp)
    if np.abs(exponent).max(initial=0) <= _SAFE_EXPONENT:
        return rows
    if uniform:
        exponent[:] = exponent[largest > 0].max()
    return Rows(weight, bias, factor, exponent)


def _is_narrow(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize <= 4


def norms(rows: Rows, index: IntArray | None, power: int, pool: Workers) -> Float64Array:
    """Return the l1 (power 1) or l2 (power 2) norms of rows (all if None), in a common unit.

    Examples
    --------
    >>> rows = make_rows(np.array([[3.0, -4.0]]))
    >>> norms(rows, None, 1, Workers(1)), norms(rows, None, 2, Workers(1))
    (array([7.]), array([5.]))
    """
    chosen = np.arange(len(rows.weight)) if index is None else index
    result = np.empty(len(chosen))

    def fill(start: int, stop: int) -> None:
        # A slice is read where it lies, without a copy.
        block = rows.block(slice(start, stop) if index is None else chosen[start:stop])
        if power == 1:
            np.add.reduce(np.abs(block, out=block), axis=1, out=result[start:stop])
        else:
            np.sqrt(rows.dot(block, block), out=result[start:stop])

    with blas_threads(1):
        pool.each(fill, len(chosen), rows.grain)
    return rows.in_common_unit(result, chosen)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Canonical numbers of pairs of rows, each of shape (M,); norms are in a common unit."""

    cosine: Float64Array
    norm_n: Float64Array
    norm_p: Float64Array


def compare(rows: Rows, n: IntArray, p: IntArray, pool: Workers) -> Pairs:
    """Compare row ``n[k]`` with row ``p[k]``: ``dot(a, b) / (norm(a) * norm(b))``.

    Examples
    --------
    >>> rows = make_rows(np.array([[3.0, 4.0], [2.0, 0.0]]))
    >>> compare(rows, np.array([0]), np.array([1]), Workers(1))
    Pairs(cosine=array([0.6]), norm_n=array([5.]), norm_p=array([2.]))
    """
    cosine, norm_n, norm_p = np.empty((3, len(n)))

    def fill(start: int, stop: int) -> None:
        part = slice(start, stop)
        a = rows.block(n[part])
        np.sqrt(rows.dot(a, a), out=norm_n[part])
        if p is n:  # who wants the norms alone compares rows with themselves
            b, norm_p[part] = a, norm_n[part]
        else:
            b = rows.block(p[part])
            np.sqrt(rows.dot(b, b), out=norm_p[part])
        with np.errstate(invalid="ignore"):  # rows of zeros have no cosine
            np.divide(rows.dot(a, b), norm_n[part] * norm_p[part], out=cosine[part])

    with blas_threads(1):
        pool.each(fill, len(n), rows.grain)
    return Pairs(cosine, rows.in_common_unit(norm_n, n), rows.in_common_unit(norm_p, p))
