"""New weights for a consumer that reads only the kept channels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nmcore.compression.moments import Moments
from nmcore.group import Float64Array, IntArray

# Strength of the pull towards the folded weights, relative to a feature's mean variance.
REFIT_RIDGE = 1e-2
# What a feature adds to that pull for each row that it has.
SCARCITY = 0.2
# By how much the pull changes where held-out inputs choose it, and how often at most.
FACTOR, TRIES = 8.0, 4
# With so many rows for each feature the pull hardly matters, and nothing needs to choose it.
AMPLE = 16
# The pull goes where that leaves so little of the error, or of the variance.
STAND_IN, EXACT = 0.5, 1e-5
# Sums in single precision tell nothing of what a weaker pull would leave.
LEAST_RIDGE = 1e-6


def features(kept: IntArray, taps: int) -> IntArray:
    """The features of some channels, each with its taps.

    >>> features(np.array([0, 2]), 3)
    array([0, 1, 2, 6, 7, 8])
    """
    return (np.asarray(kept)[:, None] * taps + np.arange(taps)).ravel()


def mixing(moments: Moments, kept: IntArray, taps: int, *, ridge: float) -> Float64Array:
    """The matrix Z, (P, N), that stands for all N channels by the P kept ones, for all taps alike.

    Z solves (G_KK + ridge mean(diag) I) Z = G_K: with G the channels' covariance, averaged over
    taps; kept channels stay themselves. With one tap it is the Z of
    :func:`nmcore.arrays.affine.affine`.

    Parameters
    ----------
    kept : int array, shape (P,)
        The kept channels.
    taps : int
        How many features each channel has.
    """
    width = len(moments.mean) // taps
    pooled = moments.covariance.reshape(width, taps, width, taps)
    pooled = np.einsum("itjt->ij", pooled) / taps
    inner = pooled[np.ix_(kept, kept)]
    pull = ridge * np.diagonal(inner).mean() + np.finfo(np.float64).tiny
    inner = inner + pull * np.eye(len(kept))
    Z: Float64Array = np.linalg.solve(inner, pooled[kept])
    Z[:, kept] = np.eye(len(kept))
    return Z


def mixed(
    moments: Moments, matrix: Float64Array, kept: IntArray, taps: int, *, ridge: float
) -> Float64Array:
    """A consumer's weight, (F, O), on the kept channels, with what :func:`mixing` hands over to
    them: (P * taps, O).
    """
    Z = mixing(moments, kept, taps, ridge=ridge)
    folded = np.tensordot(Z, matrix.reshape(len(matrix) // taps, taps, -1), axes=1)
    return folded.reshape(len(kept) * taps, -1)


def refit(
    moments: Moments, start: Float64Array, own: IntArray, *, ridge: float
) -> tuple[Float64Array, Float64Array]:
    """Least squares for the targets, drawn towards ``start``.

    W = start + (A_KK + ridge mean(diag) I)^-1 (C_K - A_KK start), b = E[y] - W' E[x_K].

    Parameters
    ----------
    start : array, shape (K, O)
        Weights on the kept features.
    own : int array, shape (K,)
        The kept features.
    ridge : float
        Strength of the pull towards ``start``, relative to the mean variance of a feature.

    Returns
    -------
    weights : array, shape (K, O)
    bias : array, shape (O,)
    """
    return _System(moments, start, own).solved(ridge)


class _System:
    """The least-squares problem of some features, whatever the pull.

    Parameters are those of :func:`refit`.
    """

    def __init__(self, moments: Moments, start: Float64Array, own: IntArray) -> None:
        self._start = start
        self._mean, self._target = moments.mean[own], moments.target_mean
        self._inner = moments.covariance[np.ix_(own, own)]
        self._missing = moments.cross[own] - self._inner @ start
        self._scale = float(np.diagonal(self._inner).mean())

    def solved(self, ridge: float) -> tuple[Float64Array, Float64Array]:
        """The weights (K, O) and the bias (O,)."""
        pulled = self._inner.copy()
        pulled.flat[:: len(pulled) + 1] += ridge * self._scale + np.finfo(np.float64).tiny
        weights = self._start + np.linalg.solve(pulled, self._missing)
        return weights, self._target - self._mean @ weights


def loosened_refit(
    moments: Moments, start: Float64Array, own: IntArray, *, ridge: float
) -> tuple[Float64Array, Float64Array]:
    """Like :func:`refit`, but next to without the pull where that leaves less than half of the
    error, or none that sums in single precision tell: where channels stand for each other exactly.

    A smaller gain is not worth the pull: on inputs of another kind it may be a loss.
    """
    system, error_of = _System(moments, start, own), _errors_on(moments, own)
    least = min(ridge, max(ridge * FACTOR**-TRIES, LEAST_RIDGE))
    drawn, loose = system.solved(ridge), system.solved(least)
    nothing = EXACT * float(moments.target_variance.sum())
    return loose if error_of(*loose) < max(STAND_IN * error_of(*drawn), nothing) else drawn


def is_scarce(rows: float, width: int) -> bool:
    """Whether there are so few rows that held-out inputs are to choose the pull.

    Parameters
    ----------
    width : int
        How many features a consumer reads, before any is gone.

    Examples
    --------
    >>> is_scarce(500, 100), is_scarce(1600, 100)
    (True, False)
    """
    return rows < AMPLE * width


def validated_refit(
    moments: Moments, held: Moments, start: Float64Array, own: IntArray, *, ridge: float
) -> tuple[Float64Array, Float64Array]:
    """Like :func:`refit`, with the pull that leaves the least error on inputs that it has not seen.

    The pull is made stronger for as long as that helps, else weaker.

    Parameters
    ----------
    held : Moments
        Of those inputs.
    ridge : float
        The pull that is tried first.
    """
    system, error_of = _System(moments, start, own), _errors_on(held, own)
    best = system.solved(ridge)
    least = error_of(*best)
    for factor in (FACTOR, 1 / FACTOR):
        improved = False
        for number in range(1, TRIES + 1):
            found = system.solved(ridge * factor**number)
            error = error_of(*found)
            if error >= least:
                break
            best, least, improved = found, error, True
        if improved:
            break
    return best


def error_on(moments: Moments, weights: Float64Array, bias: Float64Array, own: IntArray) -> float:
    """The mean squared error of weights on some features and a bias, summed over outputs."""
    return _errors_on(moments, own)(weights, bias)


def _errors_on(moments: Moments, own: IntArray) -> Callable[[Float64Array, Float64Array], float]:
    """What :func:`error_on` gives, as a function of weights and bias."""
    inner, cross = moments.covariance[np.ix_(own, own)], moments.cross[own]
    mean, whole = moments.mean[own], float(moments.target_variance.sum())

    def error(weights: Float64Array, bias: Float64Array) -> float:
        shift = moments.target_mean - mean @ weights - bias
        return float(whole - (weights * (2 * cross - inner @ weights)).sum() + shift @ shift)

    return error
