"""How small a model can get before its results are worse than asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from nmcore.data.dataset import Dataset
from nmcore.errors import BudgetError, DataError
from nmcore.evaluation.fidelity import Fidelity
from nmcore.utils.spread import spread

T = TypeVar("T")

# Shares of the multiply-accumulates that are tried lie so far apart.
STEPS = 64
# So many inputs are judged on at most: more would tell the third digit.
MOST_JUDGED = 5_000


@dataclass(frozen=True)
class Loss:
    """How much worse results got, as far as some inputs tell.

    Attributes
    ----------
    points : float
        Percentage points of top-1 accuracy, or of agreement with the original; or hundredths of
        the cosine to the original's vectors.
    error : float
        The standard error of that, in points.
    n : int
        On so many inputs.
    labelled : bool
        Whether it is accuracy.
    vectors : bool
        Whether it is the cosine.
    """

    points: float
    error: float
    n: int
    labelled: bool
    vectors: bool = False

    @classmethod
    def of(cls, found: Fidelity) -> Loss:
        """What a comparison of results says.

        Both models see the same inputs, so only those on which they differ can err. With a share d
        of these, of which the loss l is what is not made up for, the variance of l is
        (d - l^2) / n: McNemar's for accuracy, where d is at most the share of other top classes,
        and the binomial one for agreement, where l = d.

        Raises
        ------
        DataError
            The models give neither class scores nor vectors.

        Examples
        --------
        >>> Loss.of(Fidelity("x", 400, None, None, 96.0, None))
        Loss(points=4.0, error=0.98, n=400, labelled=False, vectors=False)
        """
        if found.agreement is None and found.cosine is not None:
            points, error = 100 * (1 - found.cosine), 100 * (found.cosine_error or 0.0)
            return cls(round(points, 4), round(error, 2), found.n, labelled=False, vectors=True)
        if found.agreement is None:
            raise DataError(
                "max-drop compares top classes or vectors; the outputs of the model hold neither "
                "class scores nor floats of rank 2 or 3"
            )
        differ = 1 - found.agreement / 100
        labelled = found.top1_before is not None and found.top1_after is not None
        lost = differ
        if found.top1_before is not None and found.top1_after is not None:
            lost = (found.top1_before - found.top1_after) / 100
        # No difference on n inputs does not mean that there is none on any.
        variance = max(differ - lost**2, 1 / found.n) / found.n
        error = round(100 * math.sqrt(variance), 2)
        return cls(round(100 * lost, 4), error, found.n, labelled)

    def __str__(self) -> str:
        what = "top-1 accuracy" if self.labelled else "agreement with the original"
        if self.vectors:
            what = "cosine to the original's vectors, in hundredths,"
        way = "lower" if self.points >= 0 else "higher"
        return (
            f"{what} {abs(self.points):.2f} points {way} (standard error {self.error:.2f}) on "
            f"{self.n:,} inputs"
        )


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
        Percentage points.
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
