"""Calibration pictures from a folder or a list of files, cut to the size that a model wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from nmcore.data.dataset import Dataset
from nmcore.data.layout import channel_axis
from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError
from nmcore.plugins.inputs import InputSpec
from nmcore.utils.spread import spread

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
# What a dynamic height or width becomes.
DEFAULT_SIZE = 224


@dataclass(frozen=True, eq=False)
class Pictures:
    """Files of pictures, which are read once the model's input is known.

    Attributes
    ----------
    source : Path or tuple of Path
        A folder, whose pictures are taken in the order of their names, those of its subfolders as
        well; or files in their order. Where all lie in subfolders, these are the classes: by the
        numbers that they are called, else in the order of their names.
    normalisation : Normalisation or None
        What the pixels, from 0 to 255, go through; without it they are divided by 255 alone.
    """

    source: Path | tuple[Path, ...]
    normalisation: Normalisation | None = None
    _read: dict[tuple[InputSpec, int], Dataset] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """What errors call it."""
        if isinstance(self.source, tuple):
            return f"{len(self.source)} pictures"
        return str(self.source)

    def files(self, samples: int | None = None) -> list[Path]:
        """The files that are used, evenly spread where there are more than ``samples``.

        Raises
        ------
        DataError
            There are none.
        """
        paths = self.source if isinstance(self.source, tuple) else _in_folder(self.source)
        count = len(paths) if samples is None else min(samples, len(paths))
        return [paths[k] for k in spread(len(paths), count)]

    def for_model(self, inputs: Sequence[InputSpec], count: int) -> Dataset:
        """Read at most ``count`` pictures: the shorter side scaled to fit, the centre cut out.

        Pictures of one count for inputs of one shape are read once.

        Parameters
        ----------
        inputs : sequence of InputSpec
            The model's one input: (n, channels, height, width) or (n, height, width, channels).

        Raises
        ------
        DataError
            There are no pictures, one cannot be read, or the model takes no pictures.
        """
        if len(inputs) != 1:
            names = ", ".join(spec.name for spec in inputs) or "none"
            raise DataError(
                f"pictures feed models with one input; the model has {len(inputs)} ({names})"
            )
        (spec,) = inputs
        if (spec, count) not in self._read:
            self._read[spec, count] = self._loaded(spec, count)
        return self._read[spec, count]

    def _loaded(self, spec: InputSpec, count: int) -> Dataset:
        height, width, channels, last = _layout(spec)
        x = np.stack([_read(path, height, width, channels) for path in self.files(count)])
        if not last:
            x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
        steps = self.normalisation or (None if spec.dtype == np.uint8 else Normalisation(255.0))
        axis = 1 if steps is None else channel_axis(x.shape, steps.channels)
        y, named = self._classes(self.files(count))
        return Dataset(self.name, {spec.name: x}, y, steps, axis, named_classes=named)

    def _classes(self, chosen: Sequence[Path]) -> tuple[NDArray[np.int64] | None, int | None]:
        """The class of each picture, and how many there are where names alone tell them apart."""
        if isinstance(self.source, tuple):
            return None, None
        parts = [path.relative_to(self.source).parts for path in self.files()]
        folders = sorted({each[0] for each in parts})
        if len(folders) < 2 or any(len(each) < 2 for each in parts):
            return None, None
        numbered = all(name.isdecimal() for name in folders)
        classes = {name: int(name) if numbered else k for k, name in enumerate(folders)}
        y = [classes[path.relative_to(self.source).parts[0]] for path in chosen]
        return np.array(y, np.int64), None if numbered else len(folders)


def _in_folder(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
    return paths


def _layout(spec: InputSpec) -> tuple[int, int, int, bool]:
    """Height, width and channels of a model's input, and whether channels come last."""
    shape: Sequence[int | None] = spec.shape
    if len(shape) == 4:
        for place, last in ((1, False), (3, True)):
            channels = shape[place]
            if channels in (1, 3):
                height, width = (shape[1], shape[2]) if last else (shape[2], shape[3])
                return height or DEFAULT_SIZE, width or DEFAULT_SIZE, channels, last
    raise DataError(f"a folder of pictures does not fit the model's input {spec.name} {shape}")


def _read(path: Path, height: int, width: int, channels: int) -> NDArray[Any]:
    try:
        with Image.open(path) as opened:
            picture = opened.convert("L" if channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a picture") from error
    fitted = ImageOps.fit(picture, (width, height))
    return np.asarray(fitted, np.uint8).reshape(height, width, channels)
