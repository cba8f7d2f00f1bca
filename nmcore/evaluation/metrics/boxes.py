"""Which boxes of a detector are still found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from nmcore.evaluation.detection.boxes import in_common
from nmcore.evaluation.detection.forms import FORMS, LISTS, forms_of
from nmcore.evaluation.detection.head import Decoder
from nmcore.evaluation.forms import head_of
from nmcore.evaluation.metrics.base import Loss, Metric, plainly_fewer
from nmcore.evaluation.outputs import Batch, Outputs
from nmcore.group import Array

# With less of its boxes, in percent, a detector is another one.
LOST_BOXES = 70.0


@dataclass(eq=False)
class FoundBoxes(Metric):
    """Percent of the original's boxes that the result still finds, and of its own that are new.

    Boxes count from a score of 0.25; two are the same where their classes are and their
    intersection over union is above 0.5, matched one to one; see
    :mod:`nmcore.evaluation.detection.boxes`.

    Attributes
    ----------
    form : str or None
        Of :data:`nmcore.evaluation.detection.forms.FORMS`; None tells it from the first batch of
        the original.

    Examples
    --------
    >>> boxes = FoundBoxes("end-to-end")
    >>> one = np.array([[[0, 0, 9, 9, 0.9, 1], [5, 5, 9, 9, 0.8, 2.0]]])
    >>> other = np.array([[[0, 0, 9, 8, 0.7, 1], [5, 5, 9, 9, 0.1, 2.0]]])
    >>> boxes.add(Batch([one], [other], None, np.arange(1)))
    >>> boxes.values(), boxes.told()
    ({'boxes': 50.0, 'new_boxes': 0.0}, 'of 2 boxes of the original 1 is left')
    """

    form: str | None = None
    decoder: Decoder | None = None
    counts: list[tuple[int, int, int]] = field(default_factory=list)

    needs: ClassVar[str] = (
        "outputs of a detector, in a form that names and shapes tell, and inputs in which the "
        f"original finds something; {', '.join(f'boxes:{name}' for name in FORMS)} name the form"
    )

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        if self.decoder is None:
            self._look_at(batch)
        alike = self.form in LISTS or _shapes(batch.original) == _shapes(batch.outputs)
        if self.decoder is None or not alike:
            return
        before, after = self.decoder(batch.original), self.decoder(batch.outputs)
        if before is None or after is None:
            return
        for one, other in zip(before, after, strict=True):
            self.counts.append((len(one), len(other), in_common(one, other)))

    def _look_at(self, batch: Batch) -> None:
        """Tell the form, where it is not known, and what finds the boxes."""
        if self.form is not None:
            self.decoder = FORMS[self.form](head_of(batch, told=True))
        else:
            found = next(forms_of(head_of(batch)), None)
            self.form, self.decoder = found or (None, None)

    @property
    def _totals(self) -> tuple[int, int, int]:
        before, after, same = np.array([*self.counts, (0, 0, 0)]).sum(axis=0).tolist()
        return before, after, same

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        before, after, same = self._totals
        if not before:
            return {"boxes": None, "new_boxes": None}
        return {
            "boxes": 100 * same / before,
            "new_boxes": 100 * (after - same) / after if after else 0.0,
        }

    def loss(self, original: Metric) -> Loss | None:
        """Percent of the boxes; the error is that of a ratio of sums over inputs."""
        before, _, same = self._totals
        if not before:
            return None
        lost = 1 - same / before
        rows = np.array(self.counts, float)
        residuals = (rows[:, 0] - rows[:, 2]) - lost * rows[:, 0]
        error = None
        if len(rows) > 1:
            error = 100 * math.sqrt(max(float(np.square(residuals).sum()), 1.0)) / before
        return Loss("boxes", "the original's boxes found", round(100 * lost, 6), error, len(rows))

    def told(self) -> str | None:
        """How many boxes there were, and are."""
        before, _, same = self._totals
        if not before:
            return None
        of = "box" if before == 1 else "boxes"
        return f"of {before:,} {of} of the original {same:,} {'is' if same == 1 else 'are'} left"

    @property
    def by_input(self) -> Array | None:
        """How many boxes of an input are gone or new."""
        return np.array([before + after - 2 * same for before, after, same in self.counts], float)

    @property
    def is_lost(self) -> bool:
        """Whether plainly fewer than :data:`LOST_BOXES` percent are left."""
        before, _, same = self._totals
        return plainly_fewer(same, before, LOST_BOXES)


def _shapes(outputs: Outputs) -> list[tuple[int, ...] | None]:
    return [None if output is None else output.shape for output in outputs]
