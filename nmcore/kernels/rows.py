"""Canonical arithmetic on weight rows: one float64 definition of norm and dot product.

Fast passes may work in any precision and any order, because they only shortlist; whatever decides a
result is computed here. The definition is what a plain program does: rows are float64 and contiguous,
``dot(a, b)`` is NumPy's, and ``norm(a) = sqrt(dot(a, a))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.group import FloatArray, IntArray
from nmcore.kernels.threads import Workers, blas_threads

Float64Array = NDArray[np.float64]

# Rows whose largest entry lies outside 2**-400 .. 2**400 are rescaled before they are squared.
_SAFE_EXPONENT = 400
_CHUNK_BYTES = 1 << 20


def dot(a: Float64Array, b: Float64Array) -> Float64Array:
    """Dot products of the rows of `a` (K, D) and `b` (K, D), each as ``np.dot(a[k], b[k])``.

    Call it under ``blas_threads(1)``: OpenBLAS splits dot products of more than 10,000 terms over
    its threads, and their sum would then depend on how many there are.

    Examples
    --------
    >>> dot(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    array([11.])
    """
    result: Float64Array = np.vecdot(a, b)
    return result


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
        return self.weight[0].size + (self.bias is not None)

    @property
    def grain(self) -> int:
        """How many rows fit a core's cache as float64."""
        return max(1, _CHUNK_BYTES // (8 * self.width))

    def block(self, index: IntArray | slice, out: Float64Array | None = None) -> Float64Array:
        """The rows at `index` as one contiguous float64 array, shape (K, D)."""
        taken = self.weight[index]
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


@dataclass(frozen=True, eq=False)
class Prepared:
    """Some rows, ready for a block product.

    Attributes
    ----------
    unit : float32 array, shape (K, D rounded up to a multiple of 16)
        The rows divided by their norms; zero rows stay zero.
    norm : float64 array, shape (K,)
        Canonical norms of ``exact``.
    exact : float64 array, shape (K, D), or None
        The rows themselves, where they were asked for.
    """

    unit: NDArray[np.float32]
    norm: Float64Array
    exact: Float64Array | None


def prepare(rows: Rows, index: IntArray, pool: Workers, *, exact: bool) -> Prepared:
    """Normalise the rows at `index` (K,) into float32, in one pass over the weight.

    Examples
    --------
    >>> rows = make_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    >>> ready = prepare(rows, np.array([0, 1]), Workers(1), exact=False)
    >>> ready.norm, ready.unit[:, :2]
    (array([5., 0.]), array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32))
    """
    count, width = len(index), rows.width
    unit = np.empty((count, -(-width // 16) * 16), dtype=np.float32)
    unit[:, width:] = 0
    norm = np.empty(count)
    full = np.empty((count, width)) if exact else None

    def fill(start: int, stop: int) -> None:
        part = slice(start, stop)
        block = rows.block(index[part], None if full is None else full[part])
        norm[part] = np.sqrt(dot(block, block))
        inverse = np.divide(1.0, norm[part], out=np.zeros(stop - start), where=norm[part] > 0)
        np.multiply(block, inverse[:, None], out=unit[part, :width], casting="same_kind")

    with blas_threads(1):
        pool.each(fill, count, rows.grain)
    return Prepared(unit, norm, full)


def row_sums(rows: Rows, power: int, pool: Workers) -> Float64Array:
    """The l1 (power 1) or l2 (power 2) norm of every row, shape (N,), in a common unit.

    Examples
    --------
    >>> rows = make_rows(np.array([[3.0, -4.0]]))
    >>> row_sums(rows, 1, Workers(1)), row_sums(rows, 2, Workers(1))
    (array([7.]), array([5.]))
    """
    count = len(rows.weight)
    result = np.empty(count)

    def fill(start: int, stop: int) -> None:
        block = rows.block(slice(start, stop))
        if power == 1:
            np.add.reduce(np.abs(block, out=block), axis=1, out=result[start:stop])
        else:
            np.sqrt(dot(block, block), out=result[start:stop])

    with blas_threads(1):
        pool.each(fill, count, rows.grain)
    return rows.in_common_unit(result, np.arange(count))
