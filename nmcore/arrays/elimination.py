"""Choosing channels by the error they leave behind: backward elimination with refitting.

All other channels are refitted after each removal, so what counts is what a channel does that no
combination of the remaining ones can do. This is Optimal Brain Surgeon (Hassibi & Stork, NeurIPS
1992) on the least-squares problem of the next layer, with all taps of a channel as one block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from nmcore.arrays import validation
from nmcore.errors import ArgumentError
from nmcore.group import Float64Array, FloatArray, IntArray

# Rows of the inverse that are updated at once: small enough for the cache.
_BLOCK = 256
# From so many channels on, updating the matrices by panels is many times faster.
_WIDE = 512


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

    def averaged(self, consumers: int) -> Curve:
        """The same for a curve that was summed over so many consumers, each in its own unit."""
        return replace(self, error=self.error / max(consumers, 1))


@dataclass(eq=False)
class Problem:
    """Least squares for one consumer, as elimination goes on.

    Attributes
    ----------
    inverse : array, shape (F, F)
        The inverse of the regularised covariance of the features that remain.
    weights : array, shape (F, O)
        The best weights on them.
    taps : int
        How many neighbouring features each channel owns.
    unit : float
        What an error of 1 is in this problem.
    """

    inverse: Float64Array
    weights: Float64Array
    taps: int
    unit: float = 1.0

    def costs(self) -> Float64Array:
        """The error that removing each remaining channel adds, shape (n,).

        With W_j the weights of channel j and P_jj its block of the inverse: tr(W_j' P_jj^-1 W_j),
        which is tr(P_jj^-1 W_j W_j') and takes a product of the size of the taps alone.
        """
        taps = self.taps
        own = np.arange(len(self.weights)).reshape(-1, taps)
        blocks = self.weights.reshape(len(own), taps, -1)
        square = self.inverse[own[:, :, None], own[:, None, :]]
        if taps == 1:
            costs = np.square(blocks[:, 0]).sum(1) / square[:, 0, 0]
        else:
            grams = blocks @ blocks.swapaxes(1, 2)
            costs = np.trace(np.linalg.solve(square, grams), axis1=1, axis2=2)
        result: Float64Array = costs / self.unit
        return result

    def remove(self, channel: int) -> None:
        """Take a channel out and refit the rest: P -= P_.j P_jj^-1 P_j., W -= P_.j P_jj^-1 W_j.

        The last channel takes its place, so that nothing else has to move.
        """
        taps, end = self.taps, len(self.weights)
        own = slice(channel * taps, (channel + 1) * taps)
        rows = self.inverse[own].copy()
        gain = np.linalg.solve(rows[:, own], rows).T
        self.weights -= gain @ self.weights[own]
        for start in range(0, end, _BLOCK):
            part = slice(start, start + _BLOCK)
            self.inverse[part] -= gain[part] @ rows
        last = slice(end - taps, end)
        self.inverse[own], self.weights[own] = self.inverse[last], self.weights[last]
        self.inverse[:, own] = self.inverse[:, last]
        self.inverse = self.inverse[: end - taps, : end - taps]
        self.weights = self.weights[: end - taps]


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
        What an error of 1 is.

    Raises
    ------
    ArgumentError
        The shapes do not fit each other or the taps, or the ridge is below 0.
    """
    _check_shapes(covariance, cross, start, taps)
    ridge = validation.number(ridge, "ridge", 0, float("inf"))
    pull = ridge * float(np.diagonal(covariance).mean()) + np.finfo(np.float64).tiny
    inverse = np.linalg.inv(covariance + pull * np.eye(len(covariance))).astype(np.float64)
    weights: Float64Array = inverse @ (cross + pull * start)
    return Problem(inverse, _rotated(weights), taps, unit)


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


def _rotated(weights: Float64Array) -> Float64Array:
    """Fewer outputs with the same W W', which is all that the costs depend on."""
    if weights.shape[1] <= weights.shape[0]:
        return weights
    left, singular, _ = np.linalg.svd(weights, full_matrices=False)
    rotated: Float64Array = left * singular
    return rotated


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
    if len(problems) == 1 and problems[0].taps == 1 and count >= _WIDE:
        return _eliminate_wide(problems[0], count - keep)
    ids = np.arange(count)
    order, added = [], []
    while len(ids) > keep:
        costs = sum((each.costs() for each in problems), start=np.zeros(len(ids)))
        place = int(np.argmin(costs))
        order.append(int(ids[place]))
        added.append(max(float(costs[place]), 0.0))
        for each in problems:
            each.remove(place)
        ids[place] = ids[-1]
        ids = ids[:-1]
    return np.array(order, dtype=np.intp), np.cumsum(added)


def _eliminate_wide(wide: Problem, count: int) -> tuple[IntArray, Float64Array]:
    """Remove `count` channels that own one feature each, for their only consumer.

    Then the Gram matrix of the weights is all that is needed of them.
    """
    from nmcore.kernels import get_kernel
    from nmcore.kernels.elimination import eliminate_inverted
    from nmcore.kernels.threads import workers

    gram = wide.weights @ wide.weights.T / wide.unit
    with workers(None) as pool:
        kernel = get_kernel("auto", gram.size * count)
        order, cost = eliminate_inverted(wide.inverse, gram, count, kernel, pool)
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
    from nmcore.kernels import get_kernel
    from nmcore.kernels.elimination import eliminate
    from nmcore.kernels.threads import workers

    C = validation.symmetric(covariance, "covariance")
    H = validation.symmetric(gram, "gram", len(C))
    keep = validation.keep_count(keep, len(C))
    share = validation.number(damping, "damping", 0, float("inf"))
    # A layer that never fires has no mean variance to take a share of.
    C.flat[:: len(C) + 1] += share * (C.trace() / len(C) or 1.0)
    with workers(validation.thread_limit(threads)) as pool:
        gone = eliminate(C, H, len(C) - keep, get_kernel(kernel, C.size * (len(C) - keep)), pool)
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
