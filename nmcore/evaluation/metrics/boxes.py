"""Which boxes of a detector are still found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from nmcore.evaluation.detection.boxes import in_common
from nmcore.evaluation.detection.forms import FORMS, forms_of
from nmcore.evaluation.detection.head import Decoder
from nmcore.evaluation.forms import head_of
from nmcore.evaluation.metrics.base import Loss, Metric
from nmcore.evaluation.outputs import Batch, Outputs

# With less of its boxes, in percent, a detector is another one.
LOST_BOXES = 70.0


@dataclass(eq=False)
class FoundBoxes(Metric):
    """Percent of the original's boxes that the result still finds, and of its own that are new.

    Boxes count from a score of 0.25; two are the same where their classes are and they overlap by
    more than 0.5 (intersection over union), matched one to one; see
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
            self.decoder = self._told_by(batch)
        if self.decoder is None or _shapes(batch.original) != _shapes(batch.outputs):
            return
        for one, other in zip(*map(self.decoder, (batch.original, batch.outputs)), strict=True):
            self.counts.append((len(one), len(other), in_common(one, other)))

    def _told_by(self, batch: Batch) -> Decoder | None:
        if self.form is not None:
            return FORMS[self.form](head_of(batch, told=True))
        return next((decoder for _, decoder in forms_of(head_of(batch))), None)

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
        error = math.sqrt(max(float(np.square(residuals).sum()), 1.0)) / before
        what = "the original's boxes found"
        return Loss("boxes", what, round(100 * lost, 4), round(100 * error, 2), len(rows))

    def told(self) -> str | None:
        """How many boxes there were, and are."""
        before, _, same = self._totals
        if not before:
            return None
        return f"of {before:,} boxes of the original {same:,} {'is' if same == 1 else 'are'} left"

    @property
    def is_lost(self) -> bool:
        """Whether fewer than :data:`LOST_BOXES` percent are left."""
        before, _, same = self._totals
        return 100 * same < LOST_BOXES * before


def _shapes(outputs: Outputs) -> list[tuple[int, ...] | None]:
    return [None if output is None else output.shape for output in outputs]
