"""Shrinkage of covariances where channels are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nmcore.compression.moments import Moments, with_own
from nmcore.group import Consumer, Float64Array, Reading
from nmcore.plugins import protocols

# A few hundred inputs do not move the deep channels of a network in all the ways in which they may
# move, and synthetic ones move them less, so that others seem to do their work. Where channels are
# chosen, each has so much variance of its own in addition, relative to their mean one: this much
# from the tenth layer on, and less by the square of the depth before. Layers are counted as they
# run, those of parallel branches too.
REAL, SYNTHETIC, DEEP = 0.05, 0.1, 10
# Of some channels real inputs tell enough: of those whose variance is a smaller share of their mean
# one, and of those that correlate with another by all but so much, as single precision has it.
CONSTANT, COPY = 1e-9, 1e-5
_STRIPE = 256


@dataclass(frozen=True, eq=False)
class Shrinkage:
    """Variance that channels may have beside what the inputs show.

    Attributes
    ----------
    graph : Measurable
        What is compressed.
    share : float
        The share of the inputs that are synthetic.
    """

    graph: protocols.Measurable
    share: float

    def __call__(self, moments: Moments, consumer: Consumer, reading: Reading) -> Moments:
        """The moments to choose channels by.

        Batch norms on the statistics of synthetic inputs, which they get where all inputs are, keep
        the variance of every channel, so that there is no shrinkage then.
        """
        if self.share == 1 and self._has_norms:
            return moments
        depth = self._depths[reading.group, reading.index]
        loading = (REAL + self.share * (SYNTHETIC - REAL)) * min(1.0, depth / DEEP) ** 2
        variance = np.diagonal(moments.covariance)
        own = np.full(len(variance), loading * variance.mean())
        if self.share < 1:
            own[(variance <= CONSTANT * variance.mean()) | copies(moments.covariance)] = 0
        return with_own(moments, consumer.matrix(), own)

    @cached_property
    def _has_norms(self) -> bool:
        return self.graph.norm_probe() is not None

    @cached_property
    def _depths(self) -> dict[tuple[str, int], int]:
        """The number of each reading, from 1 on, in the order in which they run."""
        found = enumerate(self.graph.readings(), start=1)
        return {(reading.group, reading.index): number for number, reading in found}


def copies(covariance: Float64Array) -> NDArray[np.bool_]:
    """Which features (F,) are a multiple of another one, shifted perhaps.

    Parameters
    ----------
    covariance : array, shape (F, F)

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> copies(np.cov(np.column_stack([x, 5 - 2 * x[:, 1]]).T))
    array([False,  True, False,  True])
    """
    deviation = np.sqrt(np.diagonal(covariance))
    found = np.zeros(len(covariance), bool)
    for start in range(0, len(covariance), _STRIPE):
        rows = np.arange(start, min(start + _STRIPE, len(covariance)))
        alike = np.abs(covariance[rows]) > (1 - COPY) * deviation[rows, None] * deviation
        alike[rows - start, rows] = False
        found[rows] = alike.any(axis=1)
    return found
