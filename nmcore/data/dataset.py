"""Inputs for a model, an array for each of them, with their classes where these are known."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.data.binding import (
    LABELS,
    UNNAMED,
    by_input,
    check_dtype,
    check_named,
    is_ragged,
    shapes_in,
)
from nmcore.data.layout import channel_axis
from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError
from nmcore.group import Array
from nmcore.plugins.inputs import InputSpec
from nmcore.utils.text import shape_text

# Whether inputs are scaled is seen on so many; bytes of pictures reach this number.
_LOOKED_AT, _USED = 64, 128


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs, with their classes where these are known.

    Attributes
    ----------
    name : str
        What errors call it.
    arrays : mapping of str to array, shape (n, ...)
        The inputs as they lie in the file, by the names of the model's inputs; one alone may be
        called ``x``. An array instead of a mapping is that one. Each holds n entries: rows along
        the batch axis of an input, or whole inputs, which have one more axis in front. Entries of
        different shapes are an array of objects, shape (n,).
    y : int array, shape (n,), or None
        The class of each entry; :meth:`for_model` checks them.
    normalisation : Normalisation or None
        What a single array goes through; None hands all over as they are.
    axis : int or None
        The channel axis that the normalisation runs along; None where the shape tells.
    path : Path or None
        The file that the inputs are from.
    named_classes : int or None
        How many classes there are, where ``y`` numbers them in the order of their names; of a model
        with another number of class scores nobody knows which is which.
    """

    name: str
    arrays: Mapping[str, Array]
    y: Array | None = None
    normalisation: Normalisation | None = None
    axis: int | None = None
    path: Path | None = None
    named_classes: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.arrays, Mapping):
            object.__setattr__(self, "arrays", {UNNAMED: self.arrays})

    def for_model(self, inputs: Sequence[InputSpec], count: int) -> Dataset:
        """The arrays under the names of a model's inputs, and the classes, checked.

        Parameters
        ----------
        inputs : sequence of InputSpec
            Of the model.
        count : int
            How many entries are wanted; what was read does not depend on it.

        Raises
        ------
        DataError
            An input has no array, or one that does not fit; or the classes are none.
        """
        arrays, y = dict(self.arrays), self.y
        names = [spec.name for spec in inputs]
        for label in LABELS:
            if label in arrays and label not in names:
                found = arrays.pop(label)
                y = found if y is None else y
            elif label in names and label not in arrays and y is not None:
                arrays[label], y = y, None
        labels = [LABELS[0]] if self.y is not None else []
        check_named(self.name, arrays, inputs, [*self.arrays, *labels])
        bound = replace(self, arrays=arrays, y=None).bound(inputs)
        return replace(bound, y=None if y is None else _labels(self.name, y, len(bound)))

    def bound(self, inputs: Sequence[InputSpec]) -> Dataset:
        """The arrays that the inputs of a model take, under their names.

        Raises
        ------
        DataError
            An input has no array, or one that does not fit.
        """
        if self.normalisation is not None and len(inputs) > 1:
            raise DataError("scale, mean and std are for models with one input; this has several")
        arrays = by_input(self.name, self.arrays, inputs)
        if self.normalisation is not None:
            source = UNNAMED if UNNAMED in self.arrays else inputs[0].name
            check_dtype(self.name, f"normalised {source}", np.zeros(0, np.float32), inputs[0])
        return replace(self, arrays=arrays)

    def without(self, names: Container[str]) -> Dataset:
        """The same without some of the arrays."""
        arrays = {name: array for name, array in self.arrays.items() if name not in names}
        return replace(self, arrays=arrays)

    def __len__(self) -> int:
        return min((len(array) for array in self.arrays.values()), default=0)

    def first(self, count: int) -> Dataset:
        """The same with so many entries at most."""
        return self.part(slice(count))

    def part(self, chosen: NDArray[np.intp] | slice) -> Dataset:
        """Some of the entries, by their positions."""
        arrays = {name: array[chosen] for name, array in self.arrays.items()}
        return replace(self, arrays=arrays, y=None if self.y is None else self.y[chosen])

    def alike(self, most: int) -> Iterator[NDArray[np.intp]]:
        """Positions of all entries, in batches of entries of the same shapes, the largest first.

        Parameters
        ----------
        most : int
            How many a batch holds at most.

        Examples
        --------
        >>> lengths = np.empty(3, object)
        >>> lengths[:] = [np.zeros(4), np.zeros(9), np.zeros(4)]
        >>> [batch.tolist() for batch in Dataset("d", {"sound": lengths}).alike(8)]
        [[1], [0, 2]]
        """
        ragged = [array for array in self.arrays.values() if is_ragged(array)]
        same: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        if ragged:
            for place, shapes in enumerate(zip(*map(shapes_in, ragged), strict=True)):
                same.setdefault(shapes, []).append(place)
        groups = [np.array(same[key]) for key in sorted(same, key=_numbers, reverse=True)]
        for places in groups or [np.arange(len(self))]:
            for start in range(0, len(places), most):
                yield places[start : start + most]

    def take(
        self, name: str, chosen: NDArray[np.intp] | slice, dtype: np.dtype[Any] | type
    ) -> Array:
        """Return some entries of one array, which have one shape, normalised, as ``dtype``.

        >>> images = np.array([[[0], [255]]], np.uint8)
        >>> data = Dataset("d", images, None, Normalisation(255.0, (0.5,), (0.5,)))
        >>> data.take("x", slice(0, 1), np.float32).ravel()
        array([-1.,  1.], dtype=float32)
        """
        part = self.arrays[name][chosen]
        if is_ragged(part):
            part = np.stack(list(part))
        if self.normalisation is None:
            return np.ascontiguousarray(part, dtype=dtype)
        axis = self.axis
        if axis is None:
            axis = channel_axis(part.shape, self.normalisation.channels)
        return self.normalisation(part, axis, np.dtype(dtype))

    @property
    def is_unscaled(self) -> bool:
        """Whether these are bytes, as pictures are stored, that nobody said how to scale.

        Numbers of any type count that are whole, from 0 to 255, and use that range.
        """
        x = self._sample
        if x is None or self.normalisation is not None:
            return False
        if x.dtype == np.uint8:
            return True
        whole = x.dtype.kind in "iu" or (x.dtype.kind == "f" and np.array_equal(x, np.rint(x)))
        shown = whole and x.ndim > 2 and x.size > 0
        return bool(shown and x.min() >= 0 and _USED <= x.max() <= 255)

    @property
    def scaled_twice(self) -> tuple[float, float] | None:
        """Between which numbers lies what is divided as though it were bytes, and is none; or None.

        That is what lies from -1 to 1, or has a mean of about 0 and is small beside the scale.
        """
        steps, x = self.normalisation, self._sample
        if x is None or steps is None or steps.scale < _USED or x.dtype.kind != "f" or not x.size:
            return None
        low, high = float(x.min()), float(x.max())
        most = max(-low, high)
        return (low, high) if most <= 1 or (low < 0 and most <= steps.scale / 16) else None

    @property
    def _sample(self) -> Array | None:
        """The first entries of the one array that there is, where they have one shape."""
        if len(self.arrays) != 1:
            return None
        (array,) = self.arrays.values()
        return array[:1][0] if is_ragged(array) else array[:_LOOKED_AT]


def _numbers(shapes: tuple[tuple[int, ...], ...]) -> int:
    return int(sum(np.prod(shape) for shape in shapes))


def _labels(name: str, y: Array, count: int) -> NDArray[np.int64]:
    if y.shape != (count,):
        raise DataError(
            f"{name}: y has shape {shape_text(y.shape)}; "
            f"one class number for each of the {count} inputs is needed"
        )
    if y.dtype.kind not in "ui":
        raise DataError(f"{name}: y is {y.dtype}; class numbers must be integers")
    return y.astype(np.int64)
