"""Many to one from weights alone: each removed row as a damped mix of kept rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nmcore.arrays import validation
from nmcore.arrays.linalg import (
    damped_solve,
    dense,
    folded,
    row_products,
    without,
)
from nmcore.arrays.request import Request
from nmcore.errors import ArgumentError
from nmcore.group import BatchNorm, FloatArray, Scaling

# From a grid on residual, plain and depthwise networks, with batch norms and folded, where results
# vary little: 0.003 to 0.1 and 0.03 to 1 are all within a point on average.
RIDGE = 0.03
BIAS_WEIGHT = 0.3


def ridge(request: Request) -> Scaling:
    """Z of ridge regression between rows; see :func:`mixed_rows`."""
    return mixed_rows(
        request.weight,
        request.kept,
        bias=request.bias,
        batchnorm=request.batchnorm,
        depthwise=request.depthwise,
        ridge=RIDGE if request.ridge is None else request.ridge,
    )


def mixed_rows(
    weight: FloatArray,
    kept: ArrayLike,
    *,
    bias: FloatArray | None = None,
    batchnorm: BatchNorm | None = None,
    depthwise: FloatArray | None = None,
    ridge: float = RIDGE,
    bias_weight: float = BIAS_WEIGHT,
) -> Scaling:
    """Rebuild each row from kept rows by ridge regression.

    Parameters
    ----------
    weight : float array, shape (N, ...)
        The rows that make the channels.
    kept : int array, shape (P,)
        The kept channels, ascending.
    bias : float array, shape (N,), or None
        The constant added to each channel before any batch norm.
    batchnorm : BatchNorm or None
        The batch norm that follows; it is folded into rows and biases first.
    depthwise : float array, shape (N, ...), or None
        The depthwise kernels behind a pointwise `weight`: rows are then outer products.
    ridge : float
        Damping of each kept channel as a share of its own squared row, at least 0.
    bias_weight : float
        What the biases weigh, all together, against what the rows weigh; at least 0.

    Returns
    -------
    Scaling
        With a dense ``matrix`` (P, N) and no shift.

    Raises
    ------
    ArgumentError
        If an argument is not usable.

    Notes
    -----
    With w^ and b^ the rows and biases behind the batch norm, after LBYL (see the references)::

        z_n = (W^_K W^_K' + l1 b^_K b^_K' + l2 D)^-1 (W^_K w^_n + l1 b^_K b^_n)
        l1 = bias_weight |W^_K|^2 / |b^_K|^2
        l2 = ridge      D = diag(W^_K W^_K' + l1 b^_K b^_K')

    so that units do not matter: neither the inputs' nor the layer's and, without biases, not even
    each channel's own. The activation is taken to be linear, which it is not: where moments of the
    activations are known, :func:`nmcore.arrays.affine.affine` does better.

    References
    ----------
    K. Lee, M. Kim, D.-W. Choi: Training-Free Restoration of Pruned Neural Networks (LBYL), 2025,
    arXiv:2502.08474.

    Examples
    --------
    Row 2 is the sum of the others:

    >>> W = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
    >>> mixed_rows(W, [0, 1], ridge=0).Z
    array([[1., 0., 1.],
           [0., 1., 1.]])
    >>> mixed_rows(W, [0, 1], ridge=1).Z
    array([[1. , 0. , 0.5],
           [0. , 1. , 0.5]])
    """
    width = len(weight)
    kept = validation.kept_channels(kept, width)
    share = validation.number(ridge, "ridge", 0, float("inf"))
    pull = validation.number(bias_weight, "bias_weight", 0, float("inf"))
    gain, offset = folded(width, bias, batchnorm)
    with np.errstate(over="ignore", invalid="ignore"):
        products = row_products(weight, kept, gain if depthwise is None else None)
        if depthwise is not None:
            products *= row_products(depthwise, kept, gain)
        biases = np.outer(offset[kept], offset)
    if not (np.isfinite(products).all() and np.isfinite(biases).all()):
        raise ArgumentError("weight: products of its rows leave the range of float64; rescale it")
    size = np.square(offset[kept]).sum()
    if size > 0:
        products += pull * (np.trace(products[:, kept]) / size) * biases
    inner = products[:, kept]
    mixture = damped_solve(inner, products[:, without(kept, width)], share * np.diagonal(inner))
    return dense(kept, width, mixture)
