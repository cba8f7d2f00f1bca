"""Which channels of a value are copies of each other, and by what factor.

Merging loses nothing where every removed channel is a copy of a kept one. A graph made with
``copies`` keeps book of this for each of its values, so that sums, concatenations and reshapes put
copies on copies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# So small that a copy ranks below every first even where some channels have many producers.
FACTOR = 1 / 16


@dataclass(frozen=True, eq=False)
class Twins:
    """Channel c is ``factors[c]`` times what any other channel of its class is at factor 1."""

    classes: np.ndarray
    factors: np.ndarray

    @classmethod
    def halves(cls, width: int, factor: float) -> Twins:
        """The second half of the channels copies the first."""
        half = width // 2
        return cls(np.tile(np.arange(half), 2), np.repeat([1.0, factor], half))

    @classmethod
    def adjacent(cls, width: int, factor: float) -> Twins:
        """Every odd channel copies the one before, so that any even cut keeps pairs together."""
        return cls(np.arange(width) // 2, np.tile([1.0, factor], width // 2))

    def same(self, other: Twins | None) -> bool:
        return (
            other is not None
            and np.array_equal(self.classes, other.classes)
            and np.array_equal(self.factors, other.factors)
        )

    def take(self, index: np.ndarray | slice) -> Twins:
        return Twins(self.classes[index], self.factors[index])

    def blocks(self, size: int, inner: bool) -> Twins:
        """Each channel becomes ``size`` ones: its neighbours, or one in each of ``size`` runs."""
        count = int(self.classes.max()) + 1
        place = np.arange(size)
        if inner:
            classes = self.classes[:, None] + count * place[None]
            factors = np.repeat(self.factors, size)
        else:
            classes = self.classes[None] + count * place[:, None]
            factors = np.tile(self.factors, size)
        return Twins(classes.reshape(-1), factors)


def join(parts: list[Twins | None]) -> Twins | None:
    """One after the other, each with classes of its own."""
    classes, factors, start = [], [], 0
    for part in parts:
        if part is None:
            return None
        classes.append(part.classes + start)
        factors.append(part.factors)
        start += int(part.classes.max()) + 1
    return Twins(np.concatenate(classes), np.concatenate(factors))
