"""Choosing channels by the error they leave behind: backward elimination with refitting.

All other channels are refitted after each removal, so what counts is what a channel does that no
combination of the remaining ones can do. This is Optimal Brain Surgeon (Hassibi & Stork, NeurIPS
1992) on the least-squares problem of the next layer, with all taps of a channel as one block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from nmcore.arrays import validation
from nmcore.errors import ArgumentError
from nmcore.group import Float64Array, FloatArray, IntArray
from nmcore.kernels import get_kernel
from nmcore.kernels.block_elimination import Blocks, Factor, Gram, eliminate_blocks
from nmcore.kernels.elimination import eliminate as eliminate_gram
from nmcore.kernels.elimination import eliminate_inverted, invert
from nmcore.kernels.threads import workers

# From this ridge on covariances are inverted by halves, in a third of the time that LU takes; with
# less, rounding would hide that channels are duplicates.
HALVED = 1e-4
# With so many features for each output, or more, weights take less than their Gram matrix.
FEW_OUTPUTS = 2


@dataclass(frozen=True, eq=False)
class Curve:
    """The error of a group as channels go.

    Attributes
    ----------
    order : int array, shape (n,)
        The channels in the order of their removal: all but one of them, or as many as went.
    error : array, shape (n,)
        The error after each removal, relative to the variance of what the consumers feed.
    original : bool
        Whether it was measured on the original network, not on the one compressed so far.
    """

    order: IntArray
    error: Float64Array
    original: bool = True

    def kept(self, count: int) -> IntArray:
        """The channels that stay where ``count`` do, ascending.

        >>> Curve(np.array([2, 0, 3]), np.array([0.1, 0.2, 0.4])).kept(2)
        array([1, 3])
        """
        width = len(self.order) + 1
        return np.delete(np.arange(width), self.order[: width - count])

    def averaged(self, consumers: int) -> Curve:
        """The same for a curve that was summed over so many consumers, each in its own unit."""
        return replace(self, error=self.error / max(consumers, 1))


@dataclass(frozen=True, eq=False)
class Problem:
    """Least squares for one consumer, before any channel has gone.

    Attributes
    ----------
    inverse : array, shape (F, F)
        The inverse of the regularised covariance of the features.
    weights : array, shape (F, O)
        The best weights W on them; an error of 1 in its units is that of W W'.
    taps : int
        How many neighbouring features each channel owns.
    """

    inverse: Float64Array
    weights: Float64Array
    taps: int

    @property
    def gram(self) -> Float64Array:
        """W W', (F, F)."""
        return self.weights @ self.weights.T

    def blocks(self) -> Blocks:
        """The state of an elimination, which uses this up."""
        features, outputs = self.weights.shape
        if FEW_OUTPUTS * outputs <= features:
            return Blocks(self.inverse, Factor(self.weights, self.taps))
        return Blocks(self.inverse, Gram(self.gram, self.taps))


def problem(
    covariance: Float64Array,
    cross: Float64Array,
    start: Float64Array,
    taps: int,
    *,
    ridge: float = 1e-3,
    unit: float = 1.0,
) -> Problem:
    """Set up the elimination for one consumer.

    Parameters
    ----------
    covariance : array, shape (F, F)
        Of the features.
    cross : array, shape (F, O)
        Covariance of features and targets.
    start : array, shape (F, O)
        Weights towards which the solution is drawn.
    taps : int
        Features a channel.
    ridge : float
        Strength of that pull, relative to the mean variance of a feature.
    unit : float
        What an error of 1 is; as good as 1 if it is not above 0, as where rounding is all that is
        left of a variance.

    Raises
    ------
    ArgumentError
        The shapes do not fit each other or the taps, or the ridge is below 0.
    """
    _check_shapes(covariance, cross, start, taps)
    unit = unit if unit > 0 else 1.0
    ridge = validation.number(ridge, "ridge", 0, float("inf"))
    pull = ridge * float(np.diagonal(covariance).mean()) + np.finfo(np.float64).tiny
    pulled = covariance.copy()
    pulled.flat[:: len(pulled) + 1] += pull
    inverse = _inverted(pulled, ridge)
    weights = inverse @ (cross + pull * start)
    weights /= math.sqrt(unit)
    return Problem(inverse, weights, taps)


def _inverted(matrix: Float64Array, ridge: float) -> Float64Array:
    """The inverse of a covariance with a ridge."""
    if ridge < HALVED:
        return np.linalg.inv(matrix).astype(np.float64)
    with workers(None) as pool:
        invert(matrix, pool)
    upper = np.triu(matrix)
    upper += np.triu(matrix, 1).T
    return upper


def _check_shapes(
    covariance: Float64Array, cross: Float64Array, start: Float64Array, taps: int
) -> None:
    count = len(covariance)
    if covariance.shape != (count, count):
        raise ArgumentError(f"covariance: got shape {covariance.shape}; need a square matrix")
    for name, array in (("cross", cross), ("start", start)):
        if array.ndim != 2 or len(array) != count or array.shape != cross.shape:
            raise ArgumentError(
                f"{name}: got shape {array.shape}; need ({count}, outputs), alike for both"
            )
    if taps < 1 or count % taps:
        raise ArgumentError(f"taps: got {taps}; need a divisor of the {count} features")


def eliminate(problems: Sequence[Problem], keep: int) -> tuple[IntArray, Float64Array]:
    """Remove channels one by one until ``keep`` remain, each time the one that costs least.

    Parameters
    ----------
    problems : sequence of Problem
        One a consumer of the same N channels; they are used up.
    keep : int
        From 1 to N.

    Returns
    -------
    order : int array, shape (N - keep,)
        The removed channels, first to last.
    error : array, shape (N - keep,)
        The error after each removal, in the problems' units.

    Raises
    ------
    ArgumentError
        There is no problem, they have different numbers of channels, or `keep` is out of range.

    Examples
    --------
    The third channel is the sum of the first two, so it goes first and costs nothing:

    >>> x = np.random.default_rng(0).standard_normal((1000, 2))
    >>> x = np.column_stack([x, x.sum(1)])
    >>> v = np.array([[1.0], [2.0], [0.1]])
    >>> order, error = eliminate([problem(x.T @ x, x.T @ x @ v, v, 1, ridge=1e-9)], 1)
    >>> order, bool(error[0] < 1e-3 * error[1])
    (array([2, 0]), True)
    """
    counts = {len(each.weights) // each.taps for each in problems}
    if len(counts) != 1:
        raise ArgumentError(
            f"problems: got {sorted(counts)} channels; need one problem or more of the same number"
        )
    count = counts.pop()
    keep = validation.keep_count(keep, count)
    with workers(None) as pool:
        if len(problems) == 1 and problems[0].taps == 1:
            only = problems[0]
            kernel = get_kernel("auto", only.inverse.size * (count - keep))
            order, cost = eliminate_inverted(only.inverse, only.gram, count - keep, kernel, pool)
        else:
            readers = [each.blocks() for each in problems]
            order, cost = eliminate_blocks(readers, count - keep, pool)
    return order, np.cumsum(np.maximum(cost, 0))


def error_selection(
    covariance: ArrayLike,
    gram: ArrayLike,
    keep: int,
    *,
    damping: float = 1e-3,
    kernel: str = "auto",
    threads: int | None = None,
) -> tuple[IntArray, Float64Array]:
    """Remove channels one by one, always the one that the others, refitted, miss least.

    Parameters
    ----------
    covariance : float array, shape (N, N)
        C, of the activations.
    gram : float array, shape (N, N)
        H = V V' summed over outputs and taps, of the weights that read them.
    keep : int
        How many to keep, from 1 to N.
    damping : float
        This share of the mean variance is added to each variance, so that dead and duplicate
        channels do no harm.
    kernel, threads
        As in :func:`nmcore.scaling_matrix`.

    Returns
    -------
    kept : int array, shape (keep,)
        The kept channels, ascending.
    curve : float64 array, shape (N - keep + 1,)
        ``curve[r]`` is the share of the next layer's input energy, trace(H C), that is lost with r
        channels removed and the others refitted; from 0, rising.

    Raises
    ------
    ArgumentError
        If a shape does not fit, or the damped covariance is not positive definite.

    Notes
    -----
    Removing j costs x_j' H x_j / [C_KK^-1]_jj with X = C_KK^-1 C_K:, what is left of it
    once the others are refitted. Costs that are equal to 9 digits count as equal, and the lower
    channel goes. The work is about 2.5 N^3 operations for half of the channels, nearly all in
    matrix products.

    Examples
    --------
    >>> C = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 2.0]])
    >>> kept, curve = error_selection(C, np.eye(3), 2, damping=0)
    >>> kept, curve.round(4)
    (array([1, 2]), array([0.    , 0.0475]))
    """
    C = validation.symmetric(covariance, "covariance")
    H = validation.symmetric(gram, "gram", len(C))
    keep = validation.keep_count(keep, len(C))
    share = validation.number(damping, "damping", 0, float("inf"))
    # A layer that never fires has no mean variance to take a share of.
    C.flat[:: len(C) + 1] += share * (C.trace() / len(C) or 1.0)
    with workers(validation.thread_limit(threads)) as pool:
        gone = eliminate_gram(
            C, H, len(C) - keep, get_kernel(kernel, C.size * (len(C) - keep)), pool
        )
    curve = np.concatenate([[0.0], np.cumsum(gone.cost)]) / (gone.total or 1.0)
    return np.delete(np.arange(len(C)), gone.removed), curve


def reading_gram(weight: FloatArray) -> Float64Array:
    """Gram matrix H = V V' over outputs and taps of a weight V (O, N, ...), shape (N, N).

    Examples
    --------
    >>> reading_gram(np.array([[1.0, 2.0], [0.0, 1.0]]))
    array([[1., 2.],
           [2., 5.]])
    """
    gram = np.zeros((weight.shape[1], weight.shape[1]))
    step = max(1, (1 << 21) * len(weight) // weight.size)
    for start in range(0, len(weight), step):
        block = np.moveaxis(weight[start : start + step].astype(np.float64), 1, 0)
        flat = block.reshape(len(block), -1)
        gram += flat @ flat.T
    return gram
