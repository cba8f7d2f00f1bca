"""Linear algebra of the methods that rebuild a channel from many: damped systems, row products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nmcore.group import BatchNorm, Float64Array, FloatArray, IntArray, Scaling

# Numbers of a weight that are held as float64 at once.
_BLOCK = 1 << 22
# Systems are damped by at least this share of their mean diagonal, so that they can be solved
# where kept channels depend on each other.
LEAST_DAMPING = 1e-12


def dense(
    kept: IntArray, width: int, mixture: Float64Array, shift: Float64Array | None = None
) -> Scaling:
    """Scaling whose kept channels stay as they are.

    Parameters
    ----------
    kept : int array, shape (P,)
        The kept channels, ascending.
    width : int
        N, the number of channels before.
    mixture : float64 array, shape (P, N - P)
        The columns of Z for the removed channels, ascending.
    shift : float64 array, shape (N - P,), or None
        Their constant parts.

    Returns
    -------
    Scaling
        With unit columns and no shift for kept channels.

    Examples
    --------
    >>> dense(np.array([0, 2]), 3, np.array([[4.0], [5.0]])).Z
    array([[1., 4., 0.],
           [0., 5., 1.]])
    """
    removed = without(kept, width)
    Z = np.zeros((len(kept), width))
    Z[np.arange(len(kept)), kept] = 1
    Z[:, removed] = mixture
    similarity = np.ones(width)
    similarity[removed] = np.nan
    constant = None
    if shift is not None:
        constant = np.zeros(width)
        constant[removed] = shift
    return Scaling(kept, width, similarity, matrix=Z, shift=constant)


def without(kept: IntArray, width: int) -> IntArray:
    """Return the channels below `width` that are not kept, ascending.

    Examples
    --------
    >>> without(np.array([0, 2]), 4)
    array([1, 3])
    """
    return np.delete(np.arange(width), kept)


def damped_solve(
    system: Float64Array, right: Float64Array, damping: float | Float64Array
) -> Float64Array:
    """Solve (A + diag(damping)) X = B with one factorisation for all columns of B.

    Parameters
    ----------
    system : float64 array, shape (P, P)
        A, positive semidefinite.
    right : float64 array, shape (P, M)
        B.
    damping : float or float64 array, shape (P,)
        At least zero; a trace of it is always added (see ``LEAST_DAMPING``).

    Returns
    -------
    float64 array, shape (P, M)
        X; zeros where A is zero.

    Examples
    --------
    >>> damped_solve(np.ones((2, 2)), np.array([[1.0], [1.0]]), 0.0).round(6)
    array([[0.5],
           [0.5]])
    """
    diagonal = np.diagonal(system)
    least = LEAST_DAMPING * diagonal.mean() or 1.0
    damped = system.copy()
    damped.flat[:: len(damped) + 1] += np.maximum(damping, least)
    # A common unit for rows and columns: activations differ in size by orders of magnitude.
    unit = 1 / np.sqrt(np.diagonal(damped))
    damped *= unit
    damped *= unit[:, None]
    solution: Float64Array = np.linalg.solve(damped, right * unit[:, None]) * unit[:, None]
    return solution


def folded(
    width: int, bias: FloatArray | None, batchnorm: BatchNorm | None
) -> tuple[Float64Array, Float64Array]:
    """Gain and bias of each channel once a batch norm is folded away.

    Parameters
    ----------
    width : int
        N, the number of channels.
    bias : float array, shape (N,), or None
        What is added before the batch norm.
    batchnorm : BatchNorm or None
        The batch norm, if it is not folded already.

    Returns
    -------
    gain, bias : float64 array, shape (N,)
        ``g / sqrt(var + eps)`` and ``beta + gain (bias - mean)``; ones and the bias without a
        batch norm. Where the deviation is zero so is the gain: the channel is constant.

    Examples
    --------
    >>> norm = BatchNorm(*np.array([[2.0], [1.0], [3.0], [4.0]]), eps=0)
    >>> folded(1, np.array([5.0]), norm)
    (array([1.]), array([3.]))
    """
    offset = np.zeros(width) if bias is None else bias.astype(np.float64)
    if batchnorm is None:
        return np.ones(width), offset
    return batchnorm.gain.astype(np.float64), batchnorm.folded_bias(offset).astype(np.float64)


def row_products(
    weight: FloatArray, rows: IntArray | None = None, factor: Float64Array | None = None
) -> Float64Array:
    """Dot products of some rows of a weight with all of them, in float64.

    Parameters
    ----------
    weight : float array, shape (N, ...)
        Read in blocks of columns; no float64 copy of it is made.
    rows : int array, shape (P,), or None
        Which rows; None takes all.
    factor : float64 array, shape (N,), or None
        Multiplies every row.

    Returns
    -------
    float64 array, shape (P, N)

    Examples
    --------
    >>> row_products(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1]))
    array([[11., 25.]])
    """
    own = slice(None) if rows is None else rows
    products = np.zeros((len(weight) if rows is None else len(rows), len(weight)))
    for block in column_blocks(weight):
        products += block[own] @ block.T
    if factor is not None:
        products *= factor
        products *= factor[own, None]
    return products


def column_blocks(weight: FloatArray) -> Iterator[Float64Array]:
    """The columns of a weight (N, ...) with its rows flattened, some at a time, as float64.

    Examples
    --------
    >>> [block.shape for block in column_blocks(np.ones((2, 3, 4)))]
    [(2, 12)]
    """
    flat = weight.reshape(len(weight), -1)
    step = max(1, _BLOCK // len(weight))
    for start in range(0, flat.shape[1], step):
        yield flat[:, start : start + step].astype(np.float64)
