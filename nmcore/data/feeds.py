"""Handing data to models: one input from ``x``, several by their names, or synthetic ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nmcore.data.dataset import Dataset
from nmcore.errors import DataError
from nmcore.group import Array
from nmcore.plugins.protocols import InputSpec
from nmcore.utils.text import shape_text

# A batch holds about so many numbers: enough to keep a processor busy, little enough that the
# activations of a large network fit into memory.
BATCH_NUMBERS = 1_000_000
LARGEST_BATCH = 256


@dataclass(frozen=True, eq=False)
class NamedInputs:
    """Data for a model with several inputs.

    Attributes
    ----------
    name : str
        What errors call it.
    arrays : mapping of input name to array, shape (n, ...)
        For each input of the model n entries: rows along its batch axis, where the array has as
        many axes as the input, or whole inputs, where it has one more.
    y : int array, shape (n,), or None
        The class of each entry.
    """

    name: str
    arrays: Mapping[str, Array]
    y: NDArray[np.int64] | None = None

    def first(self, count: int) -> NamedInputs:
        """The same with so many entries at most."""
        arrays = {name: array[:count] for name, array in self.arrays.items()}
        return replace(self, arrays=arrays, y=None if self.y is None else self.y[:count])

    def __len__(self) -> int:
        return min((len(array) for array in self.arrays.values()), default=0)


Data = Dataset | NamedInputs


@dataclass(frozen=True, eq=False)
class Feeder:
    """What a model is given for a range of inputs.

    Attributes
    ----------
    rows : callable
        ``rows(start, stop)`` gives the inputs of the model for these entries of the data.
    fixed : int or None
        How many entries one run takes, where that is fixed.
    """

    rows: Callable[[int, int], dict[str, Array]]
    fixed: int | None

    def __call__(self, start: int, stop: int) -> dict[str, Array]:
        """The inputs for a range; the last entry is repeated up to what a run takes."""
        missing = (self.fixed or 0) - (stop - start)
        feeds = self.rows(start, stop)
        if missing <= 0:
            return feeds
        return {
            name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
            for name, array in feeds.items()
        }


def feeder(data: Data, inputs: Sequence[InputSpec]) -> Feeder:
    """Tell how data feeds a model.

    Raises
    ------
    DataError
        It does not: shapes, types or names differ.

    Examples
    --------
    >>> mask = InputSpec("mask", (None, 4), np.dtype(bool))
    >>> rate = InputSpec("rate", (), np.dtype(np.int64))
    >>> data = NamedInputs("d", {"mask": np.ones((5, 4), bool), "rate": np.full(5, 16000)})
    >>> feeder(data, [mask, rate])(0, 1)
    {'mask': array([[ True,  True,  True,  True]]), 'rate': array(16000)}
    """
    if isinstance(data, Dataset):
        spec = data.fit(inputs)
        return Feeder(
            lambda start, stop: {spec.name: data.batch(start, stop, spec.dtype)}, spec.shape[0]
        )
    whole = {spec.name: _is_whole(data, spec) for spec in inputs}
    rows_taken = (spec.shape[0] for spec in inputs if not whole[spec.name])
    lengths = {length for length in rows_taken if length is not None}
    if any(whole.values()):
        lengths.add(1)
    if len(lengths) > 1:
        counts = " and ".join(str(length) for length in sorted(lengths))
        raise DataError(
            f"{data.name}: a run of the model takes {counts} entries of different inputs; "
            "give all of them whole, with one more axis in front"
        )

    def rows(start: int, stop: int) -> dict[str, Array]:
        feeds = {}
        for spec in inputs:
            array = data.arrays[spec.name]
            part = array[start] if whole[spec.name] else array[start:stop]
            feeds[spec.name] = np.asarray(part, spec.dtype)
        return feeds

    return Feeder(rows, lengths.pop() if lengths else None)


def _is_whole(data: NamedInputs, spec: InputSpec) -> bool:
    """Whether each entry of an array is a whole input rather than a row along its batch axis."""
    if spec.name not in data.arrays:
        raise DataError(
            f"{data.name} holds no array named {spec.name}, which is an input of the model"
        )
    array = data.arrays[spec.name]
    whole = array.ndim == len(spec.shape) + 1
    given, wanted = array.shape[1:], spec.shape if whole else spec.shape[1:]
    fits = len(given) == len(wanted) and array.ndim > 0
    if not fits or any(w not in (None, g) for g, w in zip(given, wanted, strict=True)):
        raise DataError(
            f"{data.name}: {spec.name} has shape {shape_text(array.shape)}; the model's input "
            f"needs {shape_text(spec.shape)}, or that with one more axis in front"
        )
    if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise DataError(f"{data.name}: {spec.name} is {array.dtype}; the model takes {spec.dtype}")
    return whole


def batch_size(data: Data) -> int:
    """How many inputs are run at once where the model takes any number.

    >>> batch_size(Dataset("x", np.zeros((9, 3, 32, 32), np.uint8)))
    256
    """
    arrays = [data.x] if isinstance(data, Dataset) else data.arrays.values()
    numbers = max(1, sum(math.prod(array.shape[1:]) for array in arrays))
    return min(max(1, BATCH_NUMBERS // numbers), LARGEST_BATCH)
