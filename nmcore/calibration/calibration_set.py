"""The calibration set: the inputs, in batches, on which activations are measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.data.batches import Feeds, length_of, part_of
from nmcore.data.binding import is_ragged, shapes_in
from nmcore.data.dataset import Dataset
from nmcore.data.feeds import feeder
from nmcore.errors import DataError
from nmcore.group import Array
from nmcore.plugins.inputs import InputSpec
from nmcore.utils.spread import spread

# The most inputs that one run sees, and the most numbers in them: activations take many times that.
_MAX_BATCH, _MAX_ELEMENTS = 64, 2**22


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Inputs in batches, and where they come from.

    Attributes
    ----------
    batches : sequence of mapping of input name to array
        What one run sees each.
    count : int
        How many inputs there are in all.
    real : bool
        Whether they are calibration data rather than synthetic.
    source : str
        Where they come from, in words.
    unseen : sequence of mapping of input name to array
        More of the same kind, which nothing is fitted to: they judge, and choose how strongly
        weights are drawn. Empty where every input is needed to measure.
    any_length : bool
        Whether the model takes batches of any length.
    apart : bool
        Whether each batch is one input that cannot be joined with others along the first axes.
    cautions : tuple of str
        Why what is measured on them may be worth little.
    mask : str or None
        The input whose zeros mark padding, which is not measured.
    held : Dataset or None
        What of the data is unseen, as it was given.
    synthetic : int
        How many synthetic inputs supplement real ones; crops of these are none.
    judges_synthetic : bool
        Whether the unseen inputs are synthetic though others are real.
    """

    batches: Sequence[Feeds]
    count: int
    real: bool
    source: str
    unseen: Sequence[Feeds] = ()
    any_length: bool = True
    apart: bool = False
    cautions: tuple[str, ...] = ()
    mask: str | None = None
    held: Dataset | None = None
    synthetic: int = 0
    judges_synthetic: bool = False

    @property
    def synthetic_share(self) -> float:
        """The share of the inputs that are synthetic."""
        return self.synthetic / self.count if self.real else 1.0

    @property
    def judged_by(self) -> str:
        """What kind of inputs the unseen ones are, in words."""
        made = not self.real or self.judges_synthetic
        return "synthetic input" if made else "input"

    def rebatched(self, most: int) -> CalibrationSet:
        """The same in batches of at most ``most``, where the model takes any number."""
        batches, unseen = (list(self.in_batches_of(most, unseen=each)) for each in (False, True))
        return replace(self, batches=batches, unseen=unseen)

    def in_batches_of(self, most: int, *, unseen: bool = False) -> Iterator[Feeds]:
        """The inputs, or those that are unseen, in batches of at most ``most``, where the model
        takes any number.
        """
        for feeds in self.unseen if unseen else self.batches:
            length = length_of(feeds)
            if not self.any_length or length <= most:
                yield feeds
                continue
            for start in range(0, length, most):
                yield part_of(feeds, start, start + most)


def from_data(data: Dataset, inputs: Sequence[InputSpec], samples: int) -> CalibrationSet:
    """Calibration data, evenly spread over the file where it holds more than ``samples``.

    Entries of one batch have one shape; those that do not fill a fixed batch are left out.

    Raises
    ------
    DataError
        The data does not fit the model, does not fill one batch, or holds the same everywhere.
    """
    part = data.bound(inputs)
    part = part.part(spread(len(part), min(samples, len(part))))
    count = len(part)
    if count > 1 and all(_is_constant(array) for array in part.arrays.values()):
        raise DataError(f"{data.name}: the {count} inputs to measure on are all the same")
    feed = feeder(part, inputs)
    length = feed.fixed or min(
        batch_length(spec, max(shapes_in(part.arrays[spec.name]), key=math.prod), count)
        for spec in inputs
    )
    chosen = [batch for batch in part.alike(length) if feed.fixed in (None, len(batch))]
    if not chosen:
        alike = "" if count < length else " of one shape"
        raise DataError(
            f"{data.name}: the model takes {length} inputs{alike} at once; only {count} are at hand"
        )
    count = sum(map(len, chosen))
    batches = [
        {name: _finite(array, data.name) for name, array in feed(batch).items()} for batch in chosen
    ]
    source = f"{count} input{'s' if count > 1 else ''} of {data.name}"
    return CalibrationSet(
        batches, count, True, source, any_length=feed.fixed is None, apart=feed.apart
    )


def _is_constant(array: Array) -> bool:
    """Whether all entries are the same."""
    return not is_ragged(array) and bool((array == array[:1]).all())


def _finite(batch: NDArray[Any], name: str) -> NDArray[Any]:
    """Pass a batch on; one broken number would break every weight."""
    if batch.dtype.kind == "f" and not np.isfinite(batch).all():
        raise DataError(f"{name}: x holds NaN or infinity")
    return batch


def batch_length(spec: InputSpec, shape: Sequence[int], samples: int) -> int:
    """How many inputs one run sees: what the model fixes, or what memory allows."""
    if spec.shape and spec.shape[0] is not None:
        return spec.shape[0]
    return fitting_batch(shape, samples)


def fitting_batch(shape: Sequence[int], samples: int) -> int:
    """How many inputs of a shape one run sees where the model takes any number.

    >>> fitting_batch((3, 224, 224), 256), fitting_batch((3, 1024, 1024), 256)
    (27, 1)
    """
    fits = max(1, _MAX_ELEMENTS // max(1, int(np.prod(shape))))
    return min(_MAX_BATCH, fits, samples)
