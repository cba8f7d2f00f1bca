"""Calibration data that nothing is fitted to, so that it can tell how well others are served."""

from __future__ import annotations

import numpy as np

from nmcore.data.dataset import Dataset
from nmcore.utils.spread import spread

# A fifth of the inputs is held back, but no fewer than this; none where fewer than twice as many
# would be left to fit to.
SHARE, FEWEST = 5, 32


def wanted(samples: int) -> int:
    """How many inputs to take where so many are to be fitted to.

    >>> wanted(256), wanted(16)
    (320, 16)
    """
    return samples + max(FEWEST, samples // (SHARE - 1)) if samples >= 2 * FEWEST else samples


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
    >>> hold_back(data.first(80), 256)[1] is None
    True
    """
    data = data.part(spread(len(data), min(len(data), wanted(samples))))
    if len(data) < 3 * FEWEST or samples < 2 * FEWEST:
        return data, None
    held = spread(len(data), max(FEWEST, len(data) // SHARE))
    return data.part(np.delete(np.arange(len(data)), held)), data.part(held)
