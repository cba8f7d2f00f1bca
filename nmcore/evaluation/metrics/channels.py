"""How far single channels of an output are from those of the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nmcore.evaluation.metrics.base import Metric
from nmcore.evaluation.outputs import Batch, Outputs
from nmcore.group import Array


@dataclass(eq=False)
class Channels(Metric):
    """The deviation of the channel of the last axis that deviates most, and of the one between.

    Of the first floating-point output with more than one number on its last axis, channel by
    channel: the root mean square of the difference, in percent of that of the original's numbers.
    A deviation of all outputs may hide a channel of small numbers that is gone. Channels in which
    the original gives nothing but zeros do not count, nor does padding.

    Examples
    --------
    >>> channels = Channels()
    >>> one, other = np.array([[100.0, 1.0, 4.0]]), np.array([[100.0, 2.0, 5.0]])
    >>> channels.add(Batch([one], [other], None, np.arange(1)))
    >>> channels.values(), channels.told()
    ({'channel': 100.0, 'median_channel': 25.0}, 'of 3 channels, number 1 deviates most')
    """

    wrong: Array | None = None
    total: Array | None = None

    needs: ClassVar[str] = (
        "a floating-point output of rank 2 or more, whose last axis has more than one channel and "
        "the same number of them for every input"
    )

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        place = _place(batch.original)
        if place is None or len(batch.outputs) != len(batch.original):
            return
        want, got = batch.original[place], batch.outputs[place]
        if want is None or got is None or got.shape != want.shape:
            return
        want, got = (np.asarray(batch.without_padding(each), np.float64) for each in (want, got))
        if want.ndim < 2:  # positions themselves, without those of padding
            return
        axes = tuple(range(want.ndim - 1))
        parts = [np.square(each).sum(axis=axes) for each in (got - want, want)]
        if self.wrong is None or self.total is None:
            self.wrong, self.total = parts
        elif parts[0].shape == self.wrong.shape:
            self.wrong, self.total = self.wrong + parts[0], self.total + parts[1]

    @property
    def _each(self) -> Array | None:
        """The deviation of each channel in percent; NaN where the original gives zeros alone."""
        if self.wrong is None or self.total is None or not np.isfinite(self.wrong).all():
            return None
        known = self.total > 0
        shares = np.full(self.total.shape, np.nan)
        shares[known] = 100 * np.sqrt(self.wrong[known] / self.total[known])
        return shares if known.any() else None

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        each = self._each
        if each is None:
            return {"channel": None, "median_channel": None}
        return {"channel": float(np.nanmax(each)), "median_channel": float(np.nanmedian(each))}

    def told(self) -> str | None:
        """Which channel deviates most."""
        each = self._each
        if each is None or not np.nanmax(each):
            return None
        return f"of {len(each):,} channels, number {int(np.nanargmax(each))} deviates most"


def _place(outputs: Outputs) -> int | None:
    """Which output has channels on its last axis."""
    for place, output in enumerate(outputs):
        if output is None or output.dtype.kind != "f" or output.ndim < 2:
            continue
        if output.shape[-1] > 1:
            return place
    return None
