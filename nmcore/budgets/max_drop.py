"""How small a model can get before its results are worse than asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from nmcore.data.dataset import Dataset
from nmcore.errors import BudgetError, DataError
from nmcore.evaluation.metrics.base import Loss
from nmcore.utils.spread import spread

T = TypeVar("T")

# Shares of the multiply-accumulates that are tried lie so far apart.
STEPS = 64
# So many inputs are judged on at most: more would tell the third digit.
MOST_JUDGED = 5_000


@dataclass(frozen=True, eq=False)
class Attempt(Generic[T]):
    """A result, the share of the cost that was asked for, and what it loses."""

    result: T
    share: float
    loss: Loss


def smallest_within(limit: float, attempt: Callable[[float], Attempt[T]]) -> Attempt[T]:
    """The attempt with the smallest share whose loss is at most ``limit``, by bisection.

    Parameters
    ----------
    limit : float
        In the unit of the loss, mostly percentage points.
    attempt : callable
        Compresses to a share of the cost and judges the result; raises
        :class:`~nmcore.errors.BudgetError` where there is no such result.

    Raises
    ------
    BudgetError
        Not even the mildest compression loses so little.
    """
    best: Attempt[T] | None = None
    mildest: Attempt[T] | None = None
    least = ""
    worse, good = 0, STEPS
    while good - worse > 1:
        middle = (worse + good) // 2
        try:
            tried = attempt(middle / STEPS)
        except BudgetError as error:
            worse, least = middle, str(error)
            continue
        if tried.loss.points <= limit:
            best, good = tried, middle
        else:
            mildest, worse = tried, middle
    if best is not None:
        return best
    if mildest is None:
        raise BudgetError(f"max-drop has nothing to choose from: {least}")
    raise BudgetError(
        f"a max-drop of {limit:g} points cannot be met: with {100 * mildest.share:.0f} % of the "
        f"MACs kept the result has {mildest.loss}"
    )


def halves(data: Dataset, samples: int) -> tuple[Dataset, Dataset]:
    """Inputs to measure activations on, and others to judge results on.

    At most half of them, evenly spread, are for measuring.

    Parameters
    ----------
    data : Dataset
        All inputs.
    samples : int
        How many to measure on at most.

    Raises
    ------
    DataError
        There are fewer than two inputs.
    """
    count = min(samples, len(data) // 2)
    if count < 1:
        raise DataError(f"{data.name} holds one input; max-drop needs one more to judge on")
    first = spread(len(data), count)
    rest = np.delete(np.arange(len(data)), first)
    return data.part(first), data.part(rest[spread(len(rest), MOST_JUDGED)])
