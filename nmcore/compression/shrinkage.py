"""Shrinkage of covariances where channels are chosen on synthetic inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from nmcore.compression.moments import Moments, with_own
from nmcore.group import Consumer, Reading
from nmcore.plugins import protocols

# Synthetic inputs move the deep channels of a network less than real ones do, so that others seem
# to do their work. Where channels are chosen, each has so much variance of its own in addition,
# relative to their mean one: this much from the tenth layer on, and less by the square of the depth
# before. Layers are counted as they run, those of parallel branches too. Where only some inputs are
# synthetic it is as much less.
SHRINKAGE, DEEP = 0.1, 10


@dataclass(frozen=True, eq=False)
class Shrinkage:
    """Variance that channels may have beside what the inputs show.

    Attributes
    ----------
    graph : Measurable
        What is compressed.
    share : float
        The share of the inputs that are synthetic; for real ones nothing is shrunk.
    """

    graph: protocols.Measurable
    share: float

    def __call__(self, moments: Moments, consumer: Consumer, reading: Reading) -> Moments:
        """The moments to choose channels by.

        Batch norms on the statistics of synthetic inputs, which they get where all inputs are, keep
        the variance of every channel, so that there is no shrinkage then.
        """
        if not self.share or (self.share == 1 and self._has_norms):
            return moments
        depth = self._depths[reading.group, reading.index]
        own = self.share * SHRINKAGE * min(1.0, depth / DEEP) ** 2
        return with_own(moments, consumer.matrix(), own)

    @cached_property
    def _has_norms(self) -> bool:
        return self.graph.norm_probe() is not None

    @cached_property
    def _depths(self) -> dict[tuple[str, int], int]:
        """The number of each reading, from 1 on, in the order in which they run."""
        found = enumerate(self.graph.readings(), start=1)
        return {(reading.group, reading.index): number for number, reading in found}
