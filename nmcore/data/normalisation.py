"""Normalising raw inputs: ``(x / scale - mean) / std``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nmcore.data.picture_form import USUAL, PictureForm
from nmcore.errors import DataError
from nmcore.group import Array


@dataclass(frozen=True)
class Normalisation:
    """``(x / scale - mean) / std``, with one mean and std or one a channel.

    ``form`` is how pictures become the numbers ``x``.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    form: PictureForm = USUAL

    def __post_init__(self) -> None:
        for name, values in (("scale", (self.scale,)), ("mean", self.mean), ("std", self.std)):
            if not values or not np.all(np.isfinite(values)):
                raise DataError(f"{name} is {_numbers(values)}; finite numbers are needed")
            if name != "mean" and 0 in values:
                raise DataError(f"{name} is {_numbers(values)}; it divides, so it cannot be 0")

    @property
    def channels(self) -> int:
        """How many channels it names; 1 where it treats all alike.

        Raises
        ------
        DataError
            Mean and std name different numbers of channels.
        """
        counts = {len(self.mean), len(self.std)} - {1}
        if len(counts) > 1:
            raise DataError(
                f"mean has {len(self.mean)} numbers and std has {len(self.std)}; "
                "give one, or one a channel, of each"
            )
        return counts.pop() if counts else 1

    def __call__(self, x: Array, axis: int, dtype: np.dtype[Any]) -> Array:
        """Normalise a batch along its channel ``axis``; the result has the float type ``dtype``."""
        # float32 is what training pipelines compute in; half precision would lose digits here.
        work: type[np.floating[Any]] = np.float64 if dtype == np.float64 else np.float32
        shape = [1] * x.ndim
        shape[axis] = -1
        mean = np.array(self.mean, work).reshape(shape)
        std = np.array(self.std, work).reshape(shape)
        values = x.astype(work)
        values /= work(self.scale)
        values -= mean
        values /= std
        return values.astype(dtype, copy=False)


def normalisation(
    scale: float | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    form: PictureForm | None = None,
) -> Normalisation | None:
    """Return what the options say, with defaults for those left out; None without any.

    A form alone leaves pixels from 0 to 1, as pictures are without any option.
    """
    if scale is None and mean is None and std is None:
        return None if form is None else Normalisation(255.0, form=form)
    return Normalisation(
        1.0 if scale is None else scale,
        (0.0,) if mean is None else tuple(np.atleast_1d(mean).tolist()),
        (1.0,) if std is None else tuple(np.atleast_1d(std).tolist()),
        form or USUAL,
    )


def _numbers(values: Sequence[float]) -> str:
    return " ".join(map(str, values)) or "empty"
