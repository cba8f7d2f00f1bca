"""Second moments of activations: what a consumer reads, and what it should give.

They come as sums over rows from a probe that a backend builds and a runtime runs; a row is one
output position of one input, a feature is one channel at one tap. Each run sums around its own
means: of a channel that hardly varies, single precision would leave nothing otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from nmcore.data.batches import BatchRunner, Feeds, length_of
from nmcore.group import Array, Float64Array
from nmcore.plugins.protocols import Session

# How many outputs a probe has for a reading: with targets, without, and with the sum that it feeds.
WITH_TARGETS, ALONE, WITH_SUM = 6, 3, 5


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


class Sums:
    """What the runs of a probe give for one reading, put together.

    The scatter around the mean of all rows is that within the runs plus that of their means (Chan,
    Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
    1979).

    Examples
    --------
    >>> sums = Sums()
    >>> for x in (np.array([[1.0], [3.0]]), np.array([[8.0]])):
    ...     sums.add([np.array([len(x)]), x.mean(0), (x - x.mean(0)).T @ (x - x.mean(0))])
    >>> sums.rows, sums.moments_of(np.ones((1, 1)), np.zeros(1)).covariance.round(3)
    (3.0, array([[8.667]]))
    """

    def __init__(self) -> None:
        self._counts: list[float] = []
        self._means: list[Float64Array] = []
        self._other_means: list[Float64Array] = []
        self._within: list[Float64Array] = []

    def add(self, outputs: Sequence[Array]) -> None:
        """Add what one run gives.

        Parameters
        ----------
        outputs : sequence of array
            ``count`` (1,), ``mean_x`` (F,), ``scatter_x`` (F, F); with targets ``mean_y`` and
            ``power_y`` (O,), ``cross`` (F, O); without, perhaps ``mean_s`` and ``power_s`` (O,) of
            a sum.
        """
        count, mean, scatter, *others = outputs
        if not count.any():
            # Where all rows were padding, means are none.
            return
        self._counts.append(float(count.ravel()[0]))
        self._means.append(mean.ravel().astype(np.float64))
        if others:
            self._other_means.append(others[0].ravel().astype(np.float64))
        within = [scatter, *others[1:]]
        if not self._within:
            self._within = [each.astype(np.float64) for each in within]
        else:
            for total, each in zip(self._within, within, strict=True):
                total += each

    @property
    def rows(self) -> float:
        """How many rows were summed."""
        return sum(self._counts)

    @property
    def _numbers(self) -> list[Float64Array]:
        return [*self._within, *self._means, *self._other_means]

    @property
    def is_finite(self) -> bool:
        """Whether nothing overflowed."""
        return all(np.isfinite(each).all() for each in self._numbers)

    def measured(self) -> Moments:
        """Moments with measured targets."""
        mean, covariance = self.features()
        target, around = self._around(self._other_means)
        _, power, cross = self._within
        _, apart = self._around(self._means)
        variance = (power.ravel() + np.square(around).sum(axis=0)) / self.rows
        return Moments(
            self.rows, mean, covariance, target, variance, (cross + apart.T @ around) / self.rows
        )

    def moments_of(self, matrix: Float64Array, bias: Float64Array) -> Moments:
        """Moments where the target is what the consumer gives now: ``matrix' x + bias``.

        Parameters
        ----------
        matrix : array, shape (F, O)
            The consumer's weight.
        bias : array, shape (O,)
            The consumer's bias.
        """
        mean, covariance = self.features()
        cross = covariance @ matrix
        variance = np.einsum("fo,fo->o", matrix, cross)
        return Moments(self.rows, mean, covariance, mean @ matrix + bias, variance, cross)

    def stream_variance(self) -> float:
        """The summed variance of the sum of values that the consumer feeds."""
        _, around = self._around(self._other_means)
        return float((self._within[1].ravel() + np.square(around).sum(axis=0)).sum() / self.rows)

    def features(self) -> tuple[Float64Array, Float64Array]:
        """Their mean (F,) and covariance (F, F)."""
        mean, apart = self._around(self._means)
        return mean, (self._within[0] + apart.T @ apart) / self.rows

    def _around(self, means: list[Float64Array]) -> tuple[Float64Array, Float64Array]:
        """The mean of all rows, and how far each run's is from it, times the root of its count."""
        counts, each = np.array(self._counts), np.array(means)
        mean = counts @ each / self.rows
        return mean, np.sqrt(counts)[:, None] * (each - mean)


def with_own(moments: Moments, matrix: Float64Array, own: Float64Array) -> Moments:
    """The moments if features had some variance of their own, which reaches the targets.

    Parameters
    ----------
    matrix : array, shape (F, O)
        By which it reaches them: the consumer's weight.
    own : array, shape (F,)
        How much that is of each.

    Examples
    --------
    Two features that are always equal are no longer:

    >>> one = np.ones((2, 2))
    >>> seen = Moments(9.0, np.zeros(2), one, np.zeros(2), 4 * np.ones(2), 2 * one)
    >>> with_own(seen, np.ones((2, 2)), np.array([0.5, 0.5])).covariance
    array([[1.5, 1. ],
           [1. , 1.5]])
    """
    return replace(
        moments,
        covariance=moments.covariance + np.diag(own),
        cross=moments.cross + own[:, None] * matrix,
        target_variance=moments.target_variance + own @ np.square(matrix),
    )


class Measured(NamedTuple):
    """What one reading gives on the inputs to fit to, and on those that judge, if there are any."""

    fitted: Sums
    held: Sums

    def judges(self) -> Moments | None:
        """The moments of what is held back."""
        return self.held.measured() if self.held.rows else None


def add_outputs(found: Sequence[Sums], outputs: Sequence[Array], sizes: Sequence[int]) -> None:
    """Add the outputs of one run to the sums of the readings that they are of, in order."""
    start = 0
    for sums, size in zip(found, sizes, strict=True):
        sums.add(outputs[start : start + size])
        start += size


def average(
    session: Session, batches: Sequence[Feeds], *, divisible: bool = True
) -> list[Float64Array]:
    """The mean of a probe's outputs over batches, each of which counts alike.

    A batch that does not fit into memory is run in parts where it is divisible; these count by
    their lengths.
    """
    divided = BatchRunner(session, divisible)
    weighted = [
        [count / length_of(feeds) * output.astype(np.float64) for output in outputs]
        for feeds in batches
        for count, outputs in divided(feeds)
    ]
    return [sum(parts) / len(batches) for parts in zip(*weighted, strict=True)]
