"""Calibration data that nothing is fitted to, so that it can tell how well others are served."""

from __future__ import annotations

import numpy as np

from nmcore.data.dataset import Dataset
from nmcore.utils.spread import spread

# A fifth of the inputs is held back, and at least so many, but no more than a third; none where a
# third is fewer than so many.
SHARE, WANTED, FEWEST = 5, 32, 16


def held_of(count: int) -> int:
    """How many of so many inputs are held back.

    >>> [held_of(count) for count in (1000, 256, 96, 64, 48, 47)]
    [200, 51, 32, 21, 16, 0]
    """
    third = count // 3
    return max(count // SHARE, min(WANTED, third)) if third >= FEWEST else 0


def wanted(samples: int) -> int:
    """How many inputs to take where so many are to be fitted to.

    >>> wanted(256), wanted(64), wanted(32), wanted(16)
    (320, 96, 48, 16)
    """
    half = samples // 2
    return samples + max(samples // (SHARE - 1), min(WANTED, half)) * (half >= FEWEST)


def hold_back(data: Dataset, samples: int) -> tuple[Dataset, Dataset | None]:
    """Divide data into what is fitted to and what is held back; None where there is too little.

    Parameters
    ----------
    samples : int
        How many inputs to fit to. Where there are too few for that, those held back are of them.
        Both parts are spread evenly over the data.

    Examples
    --------
    >>> data = Dataset("d", np.arange(1000))
    >>> [len(part) for part in hold_back(data, 256)]
    [256, 64]
    >>> [len(part) for part in hold_back(data.first(200), 256)]
    [160, 40]
    >>> hold_back(data.first(40), 256)[1] is None
    True
    """
    data = data.part(spread(len(data), min(len(data), wanted(samples))))
    count = held_of(len(data))
    if not count:
        return data, None
    held = spread(len(data), count)
    return data.part(np.delete(np.arange(len(data)), held)), data.part(held)
