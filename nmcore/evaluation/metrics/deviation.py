"""How far outputs are from those of the original, whatever they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from nmcore.evaluation.metrics.base import Loss, Metric
from nmcore.evaluation.outputs import Batch
from nmcore.group import Array
from nmcore.utils.text import printable

# An output that deviates by more is another one.
LOST = 100.0


@dataclass(eq=False)
class Deviation(Metric):
    """How far outputs are from those of the original, over all that are floating-point numbers.

    The root mean square of the difference, in percent of that of the original's. Outputs of other
    shapes than the original's are left out, as is padding, and what is not finite counts as zero;
    where a number is none, so is the figure. Of several outputs that with the largest is named.

    Examples
    --------
    >>> deviation = Deviation()
    >>> original, outputs = [np.array([3.0, 4.0])], [np.array([3.0, 5.0])]
    >>> deviation.add(Batch(original, outputs, None, np.arange(2)))
    >>> deviation.values()
    {'deviation': 20.0}
    """

    wrong: dict[str, float] = field(default_factory=dict)
    total: dict[str, float] = field(default_factory=dict)
    n: int = 0
    has_nan: bool = False
    parts: list[Array] = field(default_factory=list)

    needs: ClassVar[str] = "floating-point outputs of the shapes that the original gives"
    relative: ClassVar[bool] = True

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        if len(batch.original) != len(batch.outputs):
            return
        self.n += len(batch.places)
        pairs = zip(batch.original, batch.outputs, strict=True)
        count = len(batch.places)
        # Of each input, the squares of the difference and of the original's outputs.
        parts = np.zeros((2, count))
        for place, (want, got) in enumerate(pairs):
            if want is None or got is None or got.shape != want.shape or want.dtype.kind != "f":
                continue
            if want.shape[:1] == (count,):
                parts += _by_input(want, got, batch)
            want, got = batch.without_padding(want), batch.without_padding(got)
            self.has_nan |= bool(np.isnan(want).any() or np.isnan(got).any())
            want, got = (
                np.nan_to_num(each.astype(np.float64), posinf=0, neginf=0) for each in (want, got)
            )
            name = batch.names[place] if batch.names else str(place)
            self.total[name] = self.total.get(name, 0.0) + float(np.square(want).sum())
            self.wrong[name] = self.wrong.get(name, 0.0) + float(np.square(got - want).sum())
        self.parts.append(parts)

    @property
    def each(self) -> list[float]:
        """The deviation of each input alone, in percent; of those whose outputs are not all 0.

        None without such, and where a number is none.
        """
        if self.has_nan or not self.parts:
            return []
        wrong, total = np.concatenate(self.parts, axis=1)
        known = total > 0
        shares: Array = 100 * np.sqrt(wrong[known] / total[known])
        return [float(f"{share:.4g}") for share in shares]

    @property
    def by_input(self) -> Array:
        """The deviation of each input in percent; infinite where the original gives zeros alone, or
        where only one of the two gives a number.
        """
        if not self.parts:
            return np.zeros(0)
        wrong, total = np.concatenate(self.parts, axis=1)
        none = np.where(wrong > 0, np.inf, 0.0)
        return np.where(total > 0, 100 * np.sqrt(wrong / np.where(total > 0, total, 1)), none)

    @property
    def percent(self) -> float | None:
        """In percent; None where nothing could be compared."""
        return _percent(self.wrong.values(), self.total.values()) if self.total else None

    def told(self) -> str | None:
        """Which of several outputs deviates most."""
        if self.has_nan or len(self.total) < 2:
            return None
        each = self._by_output
        name = max(each, key=lambda name: each[name])
        return f"of {len(each)} outputs, {printable(name)!r} deviates most: by {each[name]:.2f} %"

    @property
    def _by_output(self) -> dict[str, float]:
        return {name: _percent([self.wrong[name]], [self.total[name]]) for name in self.total}

    @property
    def is_lost(self) -> bool:
        """Whether one of several outputs is another one, which all of them together may hide."""
        if self.has_nan or len(self.total) < 2:
            return False
        return any(self.total[name] > 0 and each > LOST for name, each in self._by_output.items())

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        return {"deviation": None if self.has_nan else self.percent}

    def loss(self, original: Metric) -> Loss | None:
        """The deviation itself, whose standard error is not known."""
        value = self.values()["deviation"]
        if value is None:
            return None
        return Loss("deviation", "the outputs' likeness, by their deviation,", value, None, self.n)


def _by_input(want: Array, got: Array, batch: Batch) -> Array:
    """Of each input the squares of the difference and of the original's output, shape (2, n),
    without padding.
    """
    rest = (1,) * (want.ndim - 2)
    counts: Array = np.ones(want.shape[:2], bool)
    if batch.counts is not None and batch.counts.shape == counts.shape:
        counts = batch.counts
    counts = counts.reshape(*counts.shape, *rest)
    lost = ((np.isnan(want) != np.isnan(got)) & counts).reshape(len(want), -1).any(axis=1)
    want, got = (
        np.nan_to_num(np.where(counts, each, 0).astype(np.float64), posinf=0, neginf=0)
        for each in (want, got)
    )
    squares = [np.square(each).reshape(len(want), -1).sum(axis=1) for each in (got - want, want)]
    squares[0][lost] = np.inf
    return np.array(squares)


def _percent(wrong: Iterable[float], total: Iterable[float]) -> float:
    """The root of the share; against zeros the root of the sum itself, as a share of 1."""
    return 100 * math.sqrt(sum(wrong) / (sum(total) or 1.0))
