"""Normalising raw inputs: ``(x / scale - mean) / std``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nmcore.errors import DataError
from nmcore.group import Array


@dataclass(frozen=True)
class Normalisation:
    """``(x / scale - mean) / std``, with one mean and std or one a channel."""

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

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


# Usual ways to prepare pixels from 0 to 255, RGB, by the names of :func:`nmcore.compress`.
# ``imagenet`` is torchvision's, ``clip`` that of OpenAI's CLIP, ``minus-one`` that of Inception and
# of Keras' mode "tf".
PREPROCESSING: Mapping[str, Normalisation] = {
    "imagenet": Normalisation(255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": Normalisation(
        255.0, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ),
    "unit": Normalisation(255.0),
    "minus-one": Normalisation(127.5, (1.0,)),
}


def normalisation(
    scale: float | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Normalisation | None:
    """Return what the options say, with defaults for those left out; None without any."""
    if scale is None and mean is None and std is None:
        return None
    return Normalisation(
        1.0 if scale is None else scale,
        (0.0,) if mean is None else tuple(np.atleast_1d(mean).tolist()),
        (1.0,) if std is None else tuple(np.atleast_1d(std).tolist()),
    )


def _numbers(values: Sequence[float]) -> str:
    return " ".join(map(str, values)) or "empty"
