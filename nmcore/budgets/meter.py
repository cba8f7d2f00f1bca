"""What a model costs for any widths of its groups."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nmcore.group import IntArray, Term

# Relative, of sums of costs.
ROUNDING = 1e-9

# What the number of channels that a group keeps is a multiple of, by the group's name.
Multiples = Mapping[str, int]
ANY: Multiples = {}


class Meter:
    """The cost of a model for any widths of its groups, kept up to date as they shrink.

    ``widths`` are those of the model, and ``kept`` what each group has now.
    """

    def __init__(self, terms: Sequence[Term], widths: Mapping[str, int], kind: str) -> None:
        self._sizes: list[float] = [getattr(term, kind) for term in terms]
        # A group without a width stays as it is.
        self._groups = [[name for name in term.groups if name in widths] for term in terms]
        self._of: dict[str, list[int]] = defaultdict(list)
        for number in range(len(terms)):
            # A weight whose rows and columns belong to one group names it twice.
            for name in dict.fromkeys(self._groups[number]):
                self._of[name].append(number)
        self.widths = dict(widths)
        self.kept = dict(widths)

    def total(self) -> float:
        """The cost of all terms."""
        return sum(self._term(number) for number in range(len(self._sizes)))

    def saving(self, name: str, kept: int | None = None) -> float:
        """What a group saves by going down to ``kept`` channels; by one channel where not given.

        It is a difference of totals: where rows and columns of one weight go together, the cost
        falls with the square of the width.
        """
        before = self.kept[name]
        now = sum(self._term(number) for number in self._of[name])
        self.kept[name] = before - 1 if kept is None else kept
        then = sum(self._term(number) for number in self._of[name])
        self.kept[name] = before
        return now - then

    def costs(self, name: str, widths: IntArray) -> NDArray[np.float64]:
        """What the terms of a group cost at several widths of it, (n,); the others stay.

        >>> terms = [Term(12, 0, ("a", "b")), Term(8, 0, ("a", "a"))]
        >>> meter = Meter(terms, {"a": 4, "b": 3}, "macs")
        >>> meter.costs("a", np.array([2, 4]))
        array([ 8., 20.])
        """
        shares = widths / self.widths[name]
        found = np.zeros(len(widths))
        for times, cost in self._at_full_width(name).items():
            found += cost * shares**times
        return found

    def _at_full_width(self, name: str) -> dict[int, float]:
        """What the terms of a group would cost with all of its channels, by how many times they
        name it: a share of its channels leaves so high a power of it.
        """
        found: dict[int, float] = defaultdict(float)
        for number in self._of[name]:
            groups = self._groups[number]
            others = (self.kept[other] / self.widths[other] for other in groups if other != name)
            found[groups.count(name)] += self._sizes[number] * math.prod(others)
        return found

    def _term(self, number: int) -> float:
        shares = (self.kept[name] / self.widths[name] for name in self._groups[number])
        return self._sizes[number] * math.prod(shares)
