"""Second moments of activations: what a consumer reads, and what it should give.

They come as plain sums over rows from a probe that a backend builds and a runtime runs; a row is
one output position of one input, a feature is one channel at one tap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nmcore.data.batches import BatchRunner, Feeds, length_of
from nmcore.group import Float64Array
from nmcore.plugins.protocols import Session


@dataclass(frozen=True, eq=False)
class Moments:
    """First and second moments for one consumer.

    Attributes
    ----------
    rows : float
        How many rows were summed.
    mean : array, shape (F,)
        The mean of each feature; F = N * taps, channel by channel.
    covariance : array, shape (F, F)
        Of the features.
    target_mean, target_variance : array, shape (O,)
        Of the outputs that the consumer should give.
    cross : array, shape (F, O)
        The covariance of features and targets.
    """

    rows: float
    mean: Float64Array
    covariance: Float64Array
    target_mean: Float64Array
    target_variance: Float64Array
    cross: Float64Array


def linear(sums: Iterator[Float64Array], matrix: Float64Array, bias: Float64Array) -> Moments:
    """Moments where the target is what the consumer gives now: ``matrix' x + bias``.

    Parameters
    ----------
    sums : iterator of array
        ``count``, ``sum_x``, ``gram``.
    matrix : array, shape (F, O)
        The consumer's weight.
    bias : array, shape (O,)
        The consumer's bias.
    """
    rows, mean, covariance = _features(sums)
    cross = covariance @ matrix
    variance = np.einsum("fo,fo->o", matrix, cross)
    return Moments(rows, mean, covariance, mean @ matrix + bias, variance, cross)


def measured(sums: Iterator[Float64Array]) -> Moments:
    """Moments with measured targets: ``count``, ``sum_x``, ``gram``, ``sum_y``, ``power_y``,
    ``cross``.
    """
    rows, mean, covariance = _features(sums)
    target_mean = next(sums).ravel() / rows
    variance = next(sums).ravel() / rows - target_mean**2
    cross = next(sums) / rows - np.outer(mean, target_mean)
    return Moments(rows, mean, covariance, target_mean, np.maximum(variance, 0), cross)


def with_own(moments: Moments, matrix: Float64Array, share: float) -> Moments:
    """The moments if every feature had some variance of its own, which reaches the targets.

    Parameters
    ----------
    matrix : array, shape (F, O)
        By which it reaches them: the consumer's weight.
    share : float
        How much that is, relative to the mean variance of a feature.

    Examples
    --------
    Two features that are always equal are no longer:

    >>> one = np.ones((2, 2))
    >>> seen = Moments(9.0, np.zeros(2), one, np.zeros(2), 4 * np.ones(2), 2 * one)
    >>> with_own(seen, np.ones((2, 2)), 0.5).covariance
    array([[1.5, 1. ],
           [1. , 1.5]])
    """
    own = share * float(np.diagonal(moments.covariance).mean())
    return replace(
        moments,
        covariance=moments.covariance + own * np.eye(len(matrix)),
        cross=moments.cross + own * matrix,
        target_variance=moments.target_variance + own * np.square(matrix).sum(axis=0),
    )


def stream_variance(sums: Iterator[Float64Array], rows: float) -> float:
    """The summed variance of a sum of values: ``sum_s``, ``power_s``."""
    mean = next(sums).ravel() / rows
    return float(np.maximum(next(sums).ravel() / rows - mean**2, 0).sum())


def _features(sums: Iterator[Float64Array]) -> tuple[float, Float64Array, Float64Array]:
    rows = float(next(sums).ravel()[0])
    mean = next(sums).ravel() / rows
    covariance = next(sums) / rows
    covariance -= np.outer(mean, mean)
    return rows, mean, covariance


def accumulate(
    session: Session, batches: Iterable[Feeds], *, divisible: bool = True
) -> list[Float64Array]:
    """Run a probe on every batch and add its outputs up in float64.

    Parameters
    ----------
    session : Session
        The probe.
    batches : iterable of mapping of input name to array
        What it is shown.
    divisible : bool
        Whether a batch that does not fit into memory may be run in parts.

    Raises
    ------
    ModelError
        The probe does not run, or memory does not suffice.
    """
    divided = BatchRunner(session, divisible)
    totals: list[Float64Array] = []
    for feeds in batches:
        for _, outputs in divided(feeds):
            if not totals:
                totals = [output.astype(np.float64) for output in outputs]
            else:
                for total, output in zip(totals, outputs, strict=True):
                    total += output
    return totals


def average(
    session: Session, batches: Sequence[Feeds], *, divisible: bool = True
) -> list[Float64Array]:
    """The mean of a probe's outputs over batches, each of which counts alike.

    Parameters are those of :func:`accumulate`; parts of a batch count by their lengths.
    """
    divided = BatchRunner(session, divisible)
    weighted = [
        [count / length_of(feeds) * output.astype(np.float64) for output in outputs]
        for feeds in batches
        for count, outputs in divided(feeds)
    ]
    return [sum(parts) / len(batches) for parts in zip(*weighted, strict=True)]
