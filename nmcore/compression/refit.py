"""New weights for a consumer that reads only the kept channels."""

from __future__ import annotations

import numpy as np

from nmcore.compression.moments import Moments
from nmcore.group import Float64Array, IntArray

# Strength of the pull towards the folded weights, relative to a feature's mean variance.
REFIT_RIDGE = 1e-2
# What a feature adds to that pull for each row that it has.
SCARCITY = 0.2
# By how much the pull changes where held-out inputs choose it, and how often at most.
FACTOR, TRIES = 8.0, 4


def features(kept: IntArray, taps: int) -> IntArray:
    """The features of some channels, each with its taps.

    >>> features(np.array([0, 2]), 3)
    array([0, 1, 2, 6, 7, 8])
    """
    return (np.asarray(kept)[:, None] * taps + np.arange(taps)).ravel()


def mixed(
    moments: Moments, matrix: Float64Array, kept: IntArray, taps: int, *, ridge: float
) -> Float64Array:
    """Fold the removed channels into the kept ones by one matrix Z for all taps.

    Z solves (G_KK + ridge mean(diag) I) Z = G_K: with G the channels' covariance, averaged over
    taps; kept channels stay themselves. With one tap it is the Z of
    :func:`nmcore.arrays.affine.affine`.

    Parameters
    ----------
    matrix : array, shape (F, O)
        The consumer's weight.
    kept : int array, shape (P,)
        The kept channels.

    Returns
    -------
    array, shape (P * taps, O)
    """
    width = len(matrix) // taps
    pooled = moments.covariance.reshape(width, taps, width, taps)
    pooled = np.einsum("itjt->ij", pooled) / taps
    inner = pooled[np.ix_(kept, kept)]
    pull = ridge * np.diagonal(inner).mean() + np.finfo(np.float64).tiny
    inner = inner + pull * np.eye(len(kept))
    Z = np.linalg.solve(inner, pooled[kept])
    Z[:, kept] = np.eye(len(kept))
    folded = np.tensordot(Z, matrix.reshape(width, taps, -1), axes=1)
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
    inner = moments.covariance[np.ix_(own, own)]
    missing = moments.cross[own] - inner @ start
    pull = ridge * np.diagonal(inner).mean() + np.finfo(np.float64).tiny
    weights = start + np.linalg.solve(inner + pull * np.eye(len(own)), missing)
    return weights, moments.target_mean - moments.mean[own] @ weights


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
    best = refit(moments, start, own, ridge=ridge)
    least = error_on(held, *best, own)
    for factor in (FACTOR, 1 / FACTOR):
        improved = False
        for number in range(1, TRIES + 1):
            found = refit(moments, start, own, ridge=ridge * factor**number)
            error = error_on(held, *found, own)
            if error >= least:
                break
            best, least, improved = found, error, True
        if improved:
            break
    return best


def error_on(moments: Moments, weights: Float64Array, bias: Float64Array, own: IntArray) -> float:
    """The mean squared error of weights on some features and a bias, summed over outputs."""
    inner = moments.covariance[np.ix_(own, own)]
    shift = moments.target_mean - moments.mean[own] @ weights - bias
    explained = 2 * moments.cross[own] - inner @ weights
    return float(moments.target_variance.sum() - (weights * explained).sum() + shift @ shift)
