"""Which positions of the data are measured."""

from __future__ import annotations

import math


def coprime_step(wanted: float) -> int:
    """Every how many-th position is taken where every ``wanted``-th would do.

    It is 1 or an odd prime about as large, so that it divides few widths, and positions of all
    columns of a picture are taken.

    >>> [coprime_step(wanted) for wanted in (0.2, 1.4, 2, 4.1, 20)]
    [1, 1, 3, 3, 19]
    """
    step = round(wanted)
    if step < 2:
        return 1
    while any(step % factor == 0 for factor in (2, *range(3, math.isqrt(step) + 1, 2))):
        step -= 1
    return max(step, 3)
