"""Positions spread evenly over a sequence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread(length: int, count: int) -> NDArray[np.intp]:
    """``count`` positions in a sequence, evenly spread from the first to the last; all at most.

    Examples
    --------
    >>> spread(10, 4), spread(3, 5)
    (array([0, 3, 6, 9]), array([0, 1, 2]))
    """
    return np.linspace(0, max(length - 1, 0), min(count, length)).round().astype(np.intp)
