"""How often the class with the highest score is right, or that of the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nmcore.evaluation.metrics.base import Loss, Metric, least_variance, mean_of
from nmcore.evaluation.outputs import Batch, class_scores, top_class
from nmcore.group import Array
from nmcore.utils.text import counted, percent

# Below this agreement, in percent, a model is another one.
LOST_AGREEMENT = 50.0
# An accuracy above a guess's by so little of what that leaves is told, where so many inputs tell.
ABOVE_CHANCE, FEWEST_LABELS = 0.1, 32


@dataclass(eq=False)
class TopClasses(Metric):
    """Percent of the inputs whose class is among the ``k`` with the highest scores.

    Outputs that are the classes themselves, without scores, tell of the first alone.

    Examples
    --------
    >>> two = TopClasses(2)
    >>> scores = [np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])]
    >>> two.add(Batch(scores, scores, np.array([1, 0]), np.arange(2)))
    >>> two.values()
    {'top2': 50.0}
    """

    k: int
    hits: list[NDArray[np.float64]] = field(default_factory=list)
    classes: int = 0

    needs: ClassVar[str] = "class scores in the first output, and classes y"
    relative: ClassVar[bool] = False

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        first = batch.outputs[0]
        top = None if first is None else top_class(first)
        if batch.y is None or top is None:
            return
        hits = (top == batch.y) & (top >= 0)
        scores = class_scores(first)
        self.classes = 0 if scores is None else scores.shape[1]
        if self.k > 1:
            if scores is None:
                return
            best = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
            hits = (best == batch.y[:, None]).any(axis=1) & (top >= 0)
        self.hits.append(hits.astype(np.float64))

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        share = mean_of(self.hits)
        return {f"top{self.k}": None if share is None else 100 * share}

    @property
    def by_chance(self) -> str | None:
        """What to say of accuracy that is near that of a guess; None where it is more, or too few
        inputs tell.
        """
        share, n = mean_of(self.hits), sum(map(len, self.hits))
        if share is None or not self.classes or n < FEWEST_LABELS:
            return None
        guessed = 1 / self.classes
        if share >= guessed + ABOVE_CHANCE * (1 - guessed):
            return None
        own, chance = percent(100 * share), percent(100 * guessed)
        return f"{own} % of {counted(n, 'input')}, where a guess would be on {chance} %"

    def loss(self, original: Metric) -> Loss | None:
        """Percentage points of accuracy, whose variance is McNemar's.

        Both models see the same inputs, so only those on which one is right can err: with a share
        d of these, of which the loss l is what is not made up for, it is (d - l^2) / n.
        """
        assert isinstance(original, TopClasses)
        if [*map(len, original.hits)] != [*map(len, self.hits)]:
            return None
        lost = [one - other for one, other in zip(original.hits, self.hits, strict=True)]
        return Loss.of_parts(f"top{self.k}", f"top-{self.k} accuracy", lost, least_variance(lost))


@dataclass(eq=False)
class Agreement(Metric):
    """Percent of the inputs on which the original gives the same top class."""

    same: list[NDArray[np.float64]] = field(default_factory=list)

    needs: ClassVar[str] = "class scores in the first output"
    relative: ClassVar[bool] = True

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        mine, other = (
            None if outputs[0] is None else top_class(outputs[0])
            for outputs in (batch.outputs, batch.original)
        )
        if mine is None or other is None:
            return
        self.same.append(((mine == other) & (mine >= 0)).astype(np.float64))

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        share = mean_of(self.same)
        return {"agreement": None if share is None else 100 * share}

    def loss(self, original: Metric) -> Loss | None:
        """Percent of the inputs with another top class; the binomial variance."""
        lost = [1 - same for same in self.same]
        what = "agreement with the original"
        return Loss.of_parts("agreement", what, lost, least_variance(lost))

    @property
    def by_input(self) -> Array | None:
        """1 where the top class is another one."""
        return 1 - np.concatenate(self.same) if self.same else None


def classes_lost(before: float | None, after: float | None, agreement: float | None) -> str | None:
    """What tells that classes are plainly lost; None where nothing does.

    Parameters
    ----------
    before, after : float or None
        The top-1 accuracy of the original and of the result, in percent, where there are labels.
    agreement : float or None
        How many inputs keep their top class, in percent.

    Examples
    --------
    >>> classes_lost(92.5, 36.7, 37.5), classes_lost(92.5, 80.0, 45.0)
    ('top-1 is 36.70 %', None)
    >>> classes_lost(None, None, 45.0)
    '45.00 % keep their top class'
    """
    if before is not None and after is not None:
        return f"top-1 is {percent(after)} %" if after < before / 2 else None
    if agreement is not None and agreement < LOST_AGREEMENT:
        return f"{percent(agreement)} % keep their top class"
    return None
