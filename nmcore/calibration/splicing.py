"""Splicing: more texts from a few, the first half of one before the second half of another.

What a network makes of a spliced text is as good a target as what it makes of the text, and rows
are what short texts have few of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.data.batches import Feeds, length_of

# So many positions that are no padding are wanted, and so many versions of each text at most.
WANTED, MOST = 40_000, 8


def spliced(calibration: CalibrationSet) -> CalibrationSet:
    """The same texts, and spliced ones where they have few positions.

    Parameters
    ----------
    calibration : CalibrationSet
        With :attr:`~nmcore.calibration.calibration_set.CalibrationSet.mask`. Texts of one batch
        are spliced. Those that nothing is fitted to stay as they are.

    Examples
    --------
    >>> ids = np.array([[1, 2, 3, 0], [4, 5, 6, 7]])
    >>> feeds = {"ids": ids, "mask": (ids > 0).astype(int)}
    >>> more = spliced(CalibrationSet([feeds], 2, True, "2 texts", mask="mask"))
    >>> more.count, more.source
    (4, '2 texts, and 2 spliced from them')
    >>> [feeds["ids"].tolist() for feeds in more.batches]
    [[[1, 2, 3, 0], [4, 5, 6, 7]], [[1, 5, 6, 7], [4, 5, 3, 0]]]
    """
    mask = calibration.mask
    assert mask is not None
    rows = sum(int(np.count_nonzero(feeds[mask])) for feeds in calibration.batches)
    versions = min(MOST, WANTED // max(rows, 1))
    made = [each for k in range(1, versions) for each in _version(calibration.batches, mask, k)]
    count = sum(map(length_of, made))
    if not count:
        return calibration
    return replace(
        calibration,
        batches=[*calibration.batches, *made],
        count=calibration.count + count,
        source=f"{calibration.source}, and {count} spliced from them",
    )


def _version(batches: Sequence[Feeds], mask: str, number: int) -> Iterator[Feeds]:
    """Batches whose texts are spliced with those that stand so many places before."""
    for feeds in batches:
        if number < len(feeds[mask]):
            yield _spliced(feeds, mask, np.roll(np.arange(len(feeds[mask])), number))


def _spliced(feeds: Feeds, mask: str, partners: NDArray[np.intp]) -> Feeds:
    """Texts up to the middle of what counts of each, and others from there on."""
    counts = feeds[mask] != 0
    seen = np.cumsum(counts, axis=1)
    first = 2 * seen <= seen[:, -1:]
    found = {}
    for name, array in feeds.items():
        if array.shape[:2] == counts.shape:
            chosen = first.reshape(*first.shape, *[1] * (array.ndim - 2))
            array = np.where(chosen, array, array[partners])
        found[name] = array
    return found
