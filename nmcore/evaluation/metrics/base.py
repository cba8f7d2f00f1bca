"""What a metric is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nmcore.evaluation.outputs import Batch
from nmcore.group import Array
from nmcore.utils.text import counted

# So many boxes or strings at least must be gone before a model is said to be another one.
FEWEST_LOST = 3


@dataclass(frozen=True)
class Loss:
    """How much worse results got, as far as some inputs tell.

    Attributes
    ----------
    metric : str
        What it was measured by.
    what : str
        That in words, as in "top-1 accuracy".
    points : float
        How much lower the figure is, in its own unit: percentage points mostly.
    error : float or None
        The standard error of that; None where it is not known.
    n : int
        On so many inputs, or things in them.

    Examples
    --------
    >>> str(Loss("top1", "top-1 accuracy", 1.25, 0.5, 2000))
    'top-1 accuracy 1.25 points lower (standard error 0.50) on 2,000 inputs'
    """

    metric: str
    what: str
    points: float
    error: float | None
    n: int

    @classmethod
    def of_parts(cls, metric: str, what: str, lost: Sequence[Array], least: float) -> Loss | None:
        """The mean over inputs of what each lost, in percent, with its standard error.

        Parameters
        ----------
        lost : sequence of float array, shape (n,)
            What each input lost, of 1, a batch each.
        least : float
            The variance is taken to be at least so much: no difference on the inputs at hand does
            not mean that there is none on others. Where it is 0, one input tells no error.
        """
        if not sum(map(len, lost)):
            return None
        parts = np.concatenate(lost).astype(np.float64)
        error = None
        if len(parts) > 1 or least:
            error = 100 * math.sqrt(max(float(parts.var()), least) / len(parts))
        return cls(metric, what, round(100 * float(parts.mean()), 6), error, len(parts))

    def __str__(self) -> str:
        way = "lower" if self.points >= 0 else "higher"
        known = "" if self.error is None else f" (standard error {_error_text(self.error)})"
        on = counted(self.n, "input")
        return f"{self.what} {abs(self.points):.2f} points {way}{known} on {on}"


def _error_text(error: float) -> str:
    return f"{error:.2f}" if error >= 0.005 else "below 0.01"


class Metric:
    """The running account of one figure, or of a few that belong together.

    It is given the outputs batch by batch and holds no more of them than it needs.

    Attributes
    ----------
    needs : str
        What it is told of, in words.
    relative : bool
        Whether it compares with the original, of which it tells nothing itself.
    """

    needs: ClassVar[str]
    relative: ClassVar[bool] = True

    def add(self, batch: Batch) -> None:
        """Account for some inputs."""
        raise NotImplementedError

    def values(self) -> Mapping[str, float | None]:
        """The figures by name; None for what the outputs, or missing classes, do not tell."""
        raise NotImplementedError

    def loss(self, original: Metric) -> Loss | None:
        """How much worse the figure is than that of the original; None where that has no measure.

        Parameters
        ----------
        original : Metric
            The same account of the original, which saw the same batches where it is not relative.
        """
        return None

    def told(self) -> str | None:
        """What was counted, in words; None where the figures say all."""
        return None

    @property
    def by_input(self) -> Array | None:
        """How much each input lost, shape (n,), as they were added; None where that is not known.

        In any unit: it tells which of them lost most.
        """
        return None

    @property
    def was_told(self) -> bool:
        """Whether outputs were such as it :attr:`needs`; a figure may be none nevertheless."""
        return None not in self.values().values()

    @property
    def is_lost(self) -> bool:
        """Whether the outputs plainly lost what they were for; then :meth:`told` says how."""
        return False


def plainly_fewer(same: float, before: float, percent: float) -> bool:
    """Whether less than a percentage is left, and not for one or two that are gone.

    >>> plainly_fewer(6, 9, 70), plainly_fewer(7, 9, 70), plainly_fewer(0, 2, 70)
    (True, False, False)
    """
    return 100 * same < percent * before and before - same >= FEWEST_LOST


def mean_of(parts: Sequence[NDArray[np.float64]]) -> float | None:
    """The mean over all batches; None where there is nothing.

    >>> mean_of([np.ones(3), np.zeros(1)]), mean_of([])
    (0.75, None)
    """
    count = sum(map(len, parts))
    return float(sum(part.sum() for part in parts)) / count if count else None


def least_variance(parts: Sequence[Array]) -> float:
    """That of one input among all that is lost, or that is not."""
    return 1 / max(1, sum(map(len, parts)))
