"""Handing data to models in batches, and data that is given as what models are fed with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmcore.data.binding import LABELS, UNNAMED, is_whole, shapes_in
from nmcore.data.dataset import Dataset
from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError
from nmcore.group import Array
from nmcore.plugins.inputs import InputSpec
from nmcore.plugins.open_sizes import are_apart

# A batch holds about so many numbers: enough to keep a processor busy, little enough that the
# activations of a large network fit into memory.
BATCH_NUMBERS = 1_000_000
LARGEST_BATCH = 256


@dataclass(frozen=True, eq=False)
class Feeder:
    """What a model is given for some entries of the data.

    Attributes
    ----------
    rows : callable
        ``rows(positions)`` gives the inputs of the model for these entries, which have one shape.
    fixed : int or None
        How many entries one run takes, where that is fixed.
    apart : bool
        Whether each entry is a run of its own, as it cannot be joined with others.
    """

    rows: Callable[[NDArray[np.intp]], dict[str, Array]]
    fixed: int | None
    apart: bool = False

    def __call__(self, chosen: NDArray[np.intp]) -> dict[str, Array]:
        """The inputs for some entries; the last one is repeated up to what a run takes."""
        missing = (self.fixed or 0) - len(chosen)
        if missing > 0:
            chosen = np.append(chosen, np.repeat(chosen[-1:], missing))
        return self.rows(chosen)


def feeder(data: Dataset, inputs: Sequence[InputSpec]) -> Feeder:
    """Tell how data feeds a model.

    Raises
    ------
    DataError
        It does not: shapes, types or names differ.

    Examples
    --------
    >>> mask = InputSpec("mask", (None, 4), np.dtype(bool))
    >>> rate = InputSpec("rate", (), np.dtype(np.int64))
    >>> data = Dataset("d", {"mask": np.ones((5, 4), bool), "rate": np.full(5, 16000)})
    >>> feeder(data, [mask, rate])(np.arange(1))
    {'mask': array([[ True,  True,  True,  True]]), 'rate': array(16000)}
    """
    bound = data.bound(inputs)
    whole = {spec.name: is_whole(bound.arrays[spec.name], spec) for spec in inputs}
    lengths = {spec.shape[0] for spec in inputs if not whole[spec.name]} - {None}
    if any(whole.values()):
        lengths.add(1)
    if len(lengths) > 1:
        counts = " and ".join(map(str, sorted(filter(None, lengths))))
        raise DataError(
            f"{data.name}: a run of the model takes {counts} entries of different inputs; "
            "give all of them whole, with one more axis in front"
        )

    def rows(chosen: NDArray[np.intp]) -> dict[str, Array]:
        feeds = {}
        for spec in inputs:
            part = bound.take(spec.name, chosen, spec.dtype)
            feeds[spec.name] = np.asarray(part[0]) if whole[spec.name] else part
        return feeds

    return Feeder(rows, lengths.pop() if lengths else None, any(whole.values()))


def batch_size(data: Dataset) -> int:
    """How many entries are run at once where the model takes any number.

    >>> batch_size(Dataset("x", np.zeros((9, 3, 32, 32), np.uint8)))
    256
    """
    numbers = sum(max(map(math.prod, shapes_in(array))) for array in data.arrays.values())
    return min(max(1, BATCH_NUMBERS // max(1, numbers)), LARGEST_BATCH)


@dataclass(frozen=True, eq=False)
class FeedList:
    """What a model is fed with, run by run; it becomes entries once the model's inputs are known.

    Attributes
    ----------
    name : str
        What errors call it.
    feeds : sequence of mapping of str to array
        For each run the inputs by name, with a batch axis or without one; and optionally the
        classes ``y`` of its entries.
    normalisation : None
        They are fed as they are.
    """

    name: str
    feeds: Sequence[Mapping[str, Array]]
    normalisation: Normalisation | None = None

    def for_model(self, inputs: Sequence[InputSpec], count: int) -> Dataset:
        """The rows of all feeds; or the feeds themselves, where they have no common batch axis.

        Parameters are those of :meth:`nmcore.data.dataset.Dataset.for_model`.

        Raises
        ------
        DataError
            A feed has other inputs than the first, or they do not fit the model.
        """
        names = list(self.feeds[0])
        for number, feed in enumerate(self.feeds):
            if set(feed) != set(names):
                raise DataError(
                    f"{self.name}: feed {number} (from 0) holds {', '.join(feed) or 'nothing'}, "
                    f"and the first holds {', '.join(names) or 'nothing'}"
                )
        apart = are_apart(inputs)
        ranks = _ranks(names, inputs)
        parts: dict[str, list[Array]] = {name: [] for name in names}
        for feed in self.feeds:
            length = None if apart else _common_length(feed, ranks)
            for name in names:
                parts[name] += _rows(feed[name], length, label=name not in ranks)
        arrays = {name: _column(column) for name, column in parts.items()}
        return Dataset(self.name, arrays).for_model(inputs, count)

    def __len__(self) -> int:
        return len(self.feeds)


def _ranks(names: Sequence[str], inputs: Sequence[InputSpec]) -> dict[str, int]:
    """How many axes the input has that each array of a feed is for; others are left out."""
    ranks = {spec.name: len(spec.shape) for spec in inputs}
    if len(inputs) == 1 and inputs[0].name not in names:
        others = [name for name in names if name not in LABELS]
        unnamed = UNNAMED if UNNAMED in names else "".join(others[:1])
        ranks[unnamed] = len(inputs[0].shape)
    return {name: ranks[name] for name in names if name in ranks}


def _common_length(feed: Mapping[str, Array], ranks: Mapping[str, int]) -> int | None:
    """How many rows all inputs of a feed have; None where that is not one number."""
    if any(feed[name].ndim != rank or not rank for name, rank in ranks.items()):
        return None
    lengths = {len(feed[name]) for name in ranks}
    return lengths.pop() if len(lengths) == 1 else None


def _rows(array: Array, length: int | None, *, label: bool) -> list[Array]:
    """An array of a feed as its rows, or whole where it has none; a label has no axis then."""
    if length is None:
        return [array.reshape(()) if label and array.size == 1 else array]
    return list(array) if array.ndim and len(array) == length else [array] * length


def _column(parts: Sequence[Array]) -> Array:
    """Parts as one array, of objects where their shapes differ."""
    if len({part.shape for part in parts}) == 1:
        return np.stack(parts)
    column = np.empty(len(parts), object)
    for place, part in enumerate(parts):  # arrays in a list would be broadcast
        column[place] = part
    return column
