"""A figure of the caller's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from nmcore.errors import ArgumentError
from nmcore.evaluation.metrics.base import Loss, Metric
from nmcore.evaluation.outputs import Batch, joined
from nmcore.group import Array

# (outputs of the original, outputs of the result, y) -> a number
Function = Callable[[list[Any], list[Any], Array | None], float]


@dataclass(eq=False)
class Custom(Metric):
    """A figure of the caller's own, computed once from all outputs.

    Attributes
    ----------
    function : callable
        Takes the outputs of the original, those of the result, and ``y`` or None; gives a number.
        Each output is an array (n, ...) in the order of the data, or one of objects, shape (n,),
        where the parts have different shapes. One that has no parts is repeated for each input, and
        None stands for one that is no numbers.
    """

    function: Function
    batches: list[Batch] = field(default_factory=list)
    _value: float | None = None

    needs: ClassVar[str] = "a function that gives a number"
    relative: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """What the function is called."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        self.batches.append(batch)

    def loss(self, original: Metric) -> Loss | None:
        """How much lower the number is than that of the original beside itself."""
        before, after = original.values()[self.name], self.values()[self.name]
        assert before is not None
        assert after is not None
        n = sum(len(batch.places) for batch in self.batches)
        return Loss(self.name, self.name, round(before - after, 6), None, n)

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`.

        Raises
        ------
        ArgumentError
            The function gives no number.
        """
        if not self.batches:
            return {self.name: None}
        if self._value is None:
            self._value = self._computed()
        return {self.name: self._value}

    def _computed(self) -> float:
        order = np.argsort(np.concatenate([batch.places for batch in self.batches]), kind="stable")
        y = None
        if self.batches[0].y is not None:
            y = np.concatenate([batch.y for batch in self.batches if batch.y is not None])[order]
        original, outputs = (
            [_in_order(parts, order) for parts in zip(*each, strict=True)]
            for each in (
                [batch.original for batch in self.batches],
                [batch.outputs for batch in self.batches],
            )
        )
        found = self.function(original, outputs, y)
        number = float(found) if isinstance(found, (int, float, np.number)) else math.nan
        if not math.isfinite(number):
            given = found if isinstance(found, (float, np.floating)) else type(found).__name__
            raise ArgumentError(f"metric {self.name} gave {given}; a finite number is needed")
        return number


def _in_order(parts: Sequence[Array | None], order: Array) -> Array | None:
    """The parts of one output in the order of the data; None where they are no numbers."""
    known = [part for part in parts if part is not None]
    return joined(known)[order] if len(known) == len(parts) else None
