"""Least squares for one consumer: which channels it can spare, and new weights on the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nmcore.arrays.elimination import Problem, problem
from nmcore.compression.moments import Moments
from nmcore.compression.refit import (
    REFIT_RIDGE,
    SCARCITY,
    features,
    is_scarce,
    loosened_refit,
    mixed,
    mixing,
    refit,
    validated_refit,
)
from nmcore.group import Consumer, IntArray, Refit

# The pull where channels are chosen and folded into each other, relative to a feature's variance.
SELECTION_RIDGE = 1e-3


def variance(consumers: Sequence[Consumer], moments: Sequence[Moments]) -> float:
    """The variance of what consumers should make of these channels, behind their batch norms."""
    pairs = zip(consumers, moments, strict=True)
    return sum(float((m.target_variance * c.gains() ** 2).sum()) for c, m in pairs)


def _ridge(base: float, moments: Moments) -> float:
    """Few rows say little about many features; the pull grows with their ratio."""
    return base + SCARCITY * len(moments.mean) / moments.rows


def selection_problem(consumer: Consumer, moments: Moments, unit: float) -> Problem:
    """Least squares in the units behind a batch norm, where one follows."""
    scale = consumer.gains()
    taps = consumer.weight.shape[2]
    return problem(
        moments.covariance,
        moments.cross * scale,
        consumer.matrix() * scale,
        taps,
        ridge=_ridge(SELECTION_RIDGE, moments),
        unit=unit,
    )


def folded(other: Consumer, consumer: Consumer, moments: Moments, kept: IntArray) -> Refit:
    """Another consumer's weight on the kept channels, as these stand for all where one reads them.

    Parameters
    ----------
    other : Consumer
        Of the same channels, which has not been measured.
    consumer, moments : Consumer, Moments
        One that has been, and what it reads.
    """
    taps = consumer.weight.shape[2]
    Z = mixing(moments, kept, taps, ridge=_ridge(SELECTION_RIDGE, moments))
    return Refit(kept, np.einsum("pn,ont->opt", Z, other.weight, optimize=True))


def solved_refit(
    consumer: Consumer,
    moments: Moments,
    kept: IntArray,
    held: Moments | None = None,
    *,
    final: bool = True,
) -> Refit:
    """The consumer's new weight on the kept channels.

    Parameters
    ----------
    held : Moments or None
        Of inputs that nothing is fitted to: they choose the strength of the pull.
    final : bool
        Whether the weight is one to keep; one of a trial is fitted once and no more.
    """
    taps = consumer.weight.shape[2]
    start = mixed(moments, consumer.matrix(), kept, taps, ridge=_ridge(SELECTION_RIDGE, moments))
    own, ridge = features(kept, taps), _ridge(REFIT_RIDGE, moments)
    if held is not None:
        weights, bias = validated_refit(moments, held, start, own, ridge=ridge)
    elif final and not is_scarce(moments.rows, len(moments.mean)):
        weights, bias = loosened_refit(moments, start, own, ridge=ridge)
    else:
        weights, bias = refit(moments, start, own, ridge=ridge)
    return Refit(kept, weights.T.reshape(-1, len(kept), taps), bias - consumer.offsets())
