"""Outputs that spell strings, a class at each step: connectionist temporal classification."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nmcore.evaluation.outputs import Outputs
from nmcore.group import Array

# Digits and a blank are the smallest alphabet, and the blank stands at this share of all steps at
# least, where nobody says that outputs spell strings.
FEWEST_CLASSES, BLANK_SHARE = 11, 0.2
# Probabilities of a step add up to 1 but for so much.
_SLACK = 0.01


def steps_of(outputs: Outputs) -> Array | None:
    """The scores of each step, (n, steps, classes): the first floating-point output of rank 3.

    One more axis of size 1 is left out, as in outputs (steps, 1, classes) of an input.

    >>> steps_of([np.zeros((2, 40, 1, 97))]).shape
    (2, 40, 97)
    """
    for output in outputs:
        if output is None or output.dtype.kind != "f":
            continue
        if output.ndim == 4 and 1 in output.shape[1:3]:
            output = np.squeeze(output, axis=1 + output.shape[1:3].index(1))
        if output.ndim == 3 and output.shape[1] > 1 and output.shape[2] > 1:
            return output
    return None


def blank_of(steps: Array) -> int:
    """The class that stands for no letter: the first or the last, whichever is commoner."""
    best = steps.argmax(axis=2)
    last = steps.shape[2] - 1
    return last if np.count_nonzero(best == last) > np.count_nonzero(best == 0) else 0


def strings_of(steps: Array, blank: int) -> list[tuple[int, ...]]:
    """The best class of each step, repetitions once and blanks left out.

    References
    ----------
    A. Graves et al., "Connectionist Temporal Classification", ICML 2006, section 3.2: best path
    decoding.

    Examples
    --------
    >>> path = np.eye(3)[[[1, 1, 0, 1, 2, 2, 0]]]
    >>> strings_of(path, 0)
    [(1, 1, 2)]
    """
    return [_without_repetitions(row, blank) for row in steps.argmax(axis=2)]


def _without_repetitions(row: NDArray[np.intp], blank: int) -> tuple[int, ...]:
    begins = np.append(True, row[1:] != row[:-1])
    return tuple(row[begins & (row != blank)].tolist())


def spell_strings(outputs: Outputs) -> bool:
    """Whether outputs plainly spell strings: probabilities at each step, blanks among them."""
    steps = steps_of(outputs[:1])
    if steps is None or steps.shape[2] < FEWEST_CLASSES or not np.isfinite(steps).all():
        return False
    likely = steps if steps.min() >= 0 else np.exp(np.minimum(steps.astype(np.float64), 1))
    if np.abs(likely.sum(axis=2) - 1).max() > _SLACK:
        return False
    return bool((steps.argmax(axis=2) == blank_of(steps)).mean() >= BLANK_SHARE)
