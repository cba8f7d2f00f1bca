"""Batches that do not fit into memory are run in parts."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nmcore.errors import OutOfMemoryError
from nmcore.group import Array
from nmcore.plugins.protocols import Session

Feeds = Mapping[str, Array]

log = logging.getLogger(__name__)


def length_of(feeds: Feeds) -> int:
    """How many inputs a batch holds, at least 1.

    >>> import numpy as np
    >>> length_of({"image": np.zeros((8, 3, 4, 4)), "rate": np.array(16000)})
    8
    """
    return max((len(array) for array in feeds.values() if array.ndim), default=1) or 1


def part_of(feeds: Feeds, start: int, stop: int) -> dict[str, Array]:
    """Some inputs of a batch; numbers without a batch stay.

    >>> import numpy as np
    >>> part_of({"ids": np.arange(8), "rate": np.array(16000)}, 2, 4)
    {'ids': array([2, 3]), 'rate': array(16000)}
    """
    return {name: array[start:stop] if array.ndim else array for name, array in feeds.items()}


@dataclass(eq=False)
class BatchRunner:
    """A session that runs batches in halves, or quarters, until memory suffices.

    Attributes
    ----------
    session : Session
        The model.
    divisible : bool
        Whether it takes batches of any length.
    most : int
        How many inputs one run takes; what did not fit once is not tried again.
    """

    session: Session
    divisible: bool
    most: int = sys.maxsize

    def __call__(self, feeds: Feeds) -> Iterator[tuple[int, list[Array]]]:
        """Yield how many inputs each run has taken, and its outputs.

        Raises
        ------
        OutOfMemoryError
            Not even one input fits, or the model does not take fewer at once.
        """
        start, length = 0, length_of(feeds)
        while start < length:
            stop = min(start + self.most, length) if self.divisible else length
            count = stop - start
            part = feeds if count == length else part_of(feeds, start, stop)
            try:
                outputs = self.session.run(part, divisible=self.divisible and count > 1)
            except OutOfMemoryError as error:
                self._shorten(count, error)
                continue
            yield count, outputs
            start = stop

    def _shorten(self, count: int, error: OutOfMemoryError) -> None:
        if count == 1:
            raise OutOfMemoryError(f"{error} for a single input") from error
        if not self.divisible:
            why = f"for {count} inputs at once, as many as it takes"
            raise OutOfMemoryError(f"{error} {why}") from error
        self.most = (count + 1) // 2
        log.info("memory does not suffice for %d inputs at once: trying %d", count, self.most)
