"""Inputs for a model with one input, with their classes where these are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError
from nmcore.group import Array
from nmcore.plugins.protocols import InputSpec
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
    x : array, shape (n, ...)
        The inputs as they lie in the file.
    y : int array, shape (n,), or None
        The class of each input.
    normalisation : Normalisation or None
        What batches go through; None hands ``x`` over as it is.
    axis : int
        The channel axis of ``x`` that the normalisation runs along.
    path : Path or None
        The file that the inputs are from.
    """

    name: str
    x: Array
    y: NDArray[np.int64] | None = None
    normalisation: Normalisation | None = None
    axis: int = 1
    path: Path | None = None

    def for_model(self, inputs: Sequence[InputSpec], count: int) -> Dataset:
        """All inputs: what was read does not depend on the model."""
        return self

    def __len__(self) -> int:
        return len(self.x)

    def first(self, count: int) -> Dataset:
        """The same with so many inputs at most."""
        return replace(self, x=self.x[:count], y=None if self.y is None else self.y[:count])

    def part(self, chosen: NDArray[np.intp]) -> Dataset:
        """Some of the inputs, by their positions (n,)."""
        y = None if self.y is None else self.y[chosen]
        return replace(self, x=self.x[chosen], y=y)

    @property
    def is_unscaled(self) -> bool:
        """Whether these are bytes, as pictures are stored, that nobody said how to scale.

        Numbers of any type count that are whole, from 0 to 255, and use that range.
        """
        if self.normalisation is not None or self.x.dtype == np.uint8:
            return self.normalisation is None
        x = self.x[:_LOOKED_AT]
        whole = x.dtype.kind in "iu" or (x.dtype.kind == "f" and np.array_equal(x, np.rint(x)))
        shown = whole and x.ndim > 2 and x.size > 0
        return bool(shown and x.min() >= 0 and _USED <= x.max() <= 255)

    @property
    def is_scaled_twice(self) -> bool:
        """Whether numbers from -1 to 1 are divided as though they were bytes."""
        steps = self.normalisation
        x = self.x[:_LOOKED_AT]
        scaled = steps is not None and steps.scale >= _USED
        return scaled and x.dtype.kind == "f" and bool(np.abs(x).max(initial=0) <= 1)

    def fit(self, inputs: Sequence[InputSpec]) -> InputSpec:
        """Return the input of a model that ``x`` feeds.

        Raises
        ------
        DataError
            The model has several inputs, or ``x`` has another shape or type than it wants.
        """
        spec = only_input(inputs)
        given, wanted = self.x.shape[1:], spec.shape[1:]
        fits = len(spec.shape) == self.x.ndim and all(
            want is None or have == want for have, want in zip(given, wanted, strict=True)
        )
        if not fits:
            raise DataError(
                f"{self.name}: x has shape {shape_text(self.x.shape)}; "
                f"the model's input {spec.name} needs {shape_text(spec.shape)}"
            )
        self._check_dtype(spec)
        return spec

    def _check_dtype(self, spec: InputSpec) -> None:
        source = self.x.dtype if self.normalisation is None else np.dtype(np.float32)
        if not np.can_cast(source, spec.dtype, "same_kind"):
            what = "normalised x" if self.normalisation is not None else "x"
            raise DataError(
                f"{self.name}: {what} is {source}; the model's input {spec.name} takes {spec.dtype}"
            )

    def batch(self, start: int, stop: int, dtype: np.dtype[Any] | type = np.float32) -> Array:
        """Return the inputs from ``start`` up to ``stop``, normalised, as ``dtype``.

        >>> images = np.array([[[0], [255]]], np.uint8)
        >>> Dataset("x", images, None, Normalisation(255.0, (0.5,), (0.5,))).batch(0, 1).ravel()
        array([-1.,  1.], dtype=float32)
        """
        part = self.x[start:stop]
        if self.normalisation is None:
            return np.ascontiguousarray(part, dtype=dtype)
        return self.normalisation(part, self.axis, np.dtype(dtype))


def only_input(inputs: Sequence[InputSpec]) -> InputSpec:
    """Return the one input of a model.

    Raises
    ------
    DataError
        The model has several, or none.
    """
    if len(inputs) != 1:
        names = ", ".join(spec.name for spec in inputs) or "none"
        raise DataError(
            f"the model has {len(inputs)} inputs ({names}); a data file feeds models with one"
        )
    return inputs[0]
