"""Which strings a recogniser still reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nmcore.evaluation.metrics.base import (
    Loss,
    Metric,
    least_variance,
    mean_of,
    plainly_fewer,
)
from nmcore.evaluation.outputs import Batch
from nmcore.evaluation.sequences import blank_of, steps_of, strings_of
from nmcore.group import Array

# With less of its strings, in percent, a recogniser is another one.
LOST_STRINGS = 70.0


@dataclass(eq=False)
class Strings(Metric):
    """Percent of the inputs of which both models read the same string.

    The best class of each step, repetitions once and blanks left out; inputs in which neither
    reads anything do not count. The blank is the first or the last class, whichever is commoner in
    the first batch of the original.

    Examples
    --------
    >>> strings = Strings()
    >>> one, other = (np.eye(4)[[path]] for path in ([0, 1, 1, 0, 0], [0, 1, 0, 1, 0]))
    >>> strings.add(Batch([one], [other], None, np.arange(1)))
    >>> strings.values(), strings.told()
    ({'ctc': 0.0}, 'of 1 string of the original 0 are the same')
    """

    blank: int | None = None
    same: list[NDArray[np.float64]] = field(default_factory=list)
    changed: list[bool] = field(default_factory=list)

    needs: ClassVar[str] = (
        "a floating-point output (n, steps, classes), and inputs in which something is read"
    )

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        one, other = steps_of(batch.original), steps_of(batch.outputs)
        if one is None or other is None or one.shape[2] != other.shape[2]:
            return
        if self.blank is None:
            self.blank = blank_of(one)
        read = [strings_of(each, self.blank) for each in (one, other)]
        same = [mine == his for mine, his in zip(*read, strict=True) if mine or his]
        self.same.append(np.array(same, np.float64))
        self.changed += [mine != his for mine, his in zip(*read, strict=True)]

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        share = mean_of(self.same)
        return {"ctc": None if share is None else 100 * share}

    def loss(self, original: Metric) -> Loss | None:
        """Percent of the strings that changed; the binomial variance."""
        lost = [1 - same for same in self.same]
        return Loss.of_parts("ctc", "strings as the original's", lost, least_variance(lost))

    def told(self) -> str | None:
        """How many strings there were, and how many are the same."""
        count, same = sum(map(len, self.same)), int(sum(part.sum() for part in self.same))
        if not count:
            return None
        of = f"{count:,} string{'' if count == 1 else 's'}"
        return f"of {of} of the original {same:,} {'is' if same == 1 else 'are'} the same"

    @property
    def by_input(self) -> Array | None:
        """1 where the string is another one."""
        return np.array(self.changed, float)

    @property
    def is_lost(self) -> bool:
        """Whether plainly fewer than :data:`LOST_STRINGS` percent are the same."""
        count = sum(map(len, self.same))
        return plainly_fewer(float(sum(part.sum() for part in self.same)), count, LOST_STRINGS)
