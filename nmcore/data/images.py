"""Pictures from a folder or a list of files, in the size that a model wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from nmcore.data.dataset import Dataset
from nmcore.data.folder import Folder
from nmcore.data.layout import channel_axis
from nmcore.data.normalisation import Normalisation
from nmcore.data.picture_form import USUAL, PictureForm
from nmcore.errors import DataError
from nmcore.plugins.inputs import InputSpec
from nmcore.plugins.open_sizes import IMAGE_SIZE
from nmcore.utils.logs import mention, tell
from nmcore.utils.text import counted, shape_text

# Pixels of one number; and the largest of 16 bits.
_GREY, _SIXTEEN_BITS = ("L", "1", "LA", "La"), 65_535
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True, eq=False)
class Pictures(Folder):
    """Files of pictures: the one input of a model, (n, channels, height, width) or (n, height,
    width, channels).

    Pixels from 0 to 255 go through ``normalisation``, which also says how they are resized; without
    it they are divided by 255 alone.
    """

    kind = "pictures"
    suffixes = SUFFIXES

    def _loaded(self, inputs: Sequence[InputSpec], count: int) -> Dataset:
        if len(inputs) != 1:
            names = ", ".join(spec.name for spec in inputs) or "none"
            raise DataError(
                f"pictures feed models with one input; the model has {len(inputs)} ({names})"
            )
        (spec,) = inputs
        form = USUAL if self.normalisation is None else self.normalisation.form
        height, width, channels, last = _layout(spec, form.layout)
        files = self.files(count)
        x = np.stack([_read(path, form, height, width, channels) for path in files])
        if not last:
            x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
        steps = self.normalisation or (None if spec.dtype == np.uint8 else Normalisation(255.0))
        axis = (3 if last else 1) if form.layout else 1
        if self.normalisation is None:
            _mention_usual(self.name, x.shape[2:] if not last else x.shape[1:3], steps)
        if steps is not None and not form.layout:
            axis = channel_axis(x.shape, steps.channels)
        y, named = self.classes(files)
        return Dataset(self.name, {spec.name: x}, y, steps, axis, named_classes=named)


def _layout(spec: InputSpec, layout: str | None) -> tuple[int, int, int, bool]:
    """Height, width and channels of a model's input, and whether channels come last."""
    shape: Sequence[int | None] = spec.shape
    places = {None: (1, 3), "nchw": (1,), "nhwc": (3,)}[layout]
    for place in places if len(shape) == 4 else ():
        # An open number of channels is that of colours, where the layout is stated.
        channels = 3 if layout and shape[place] is None else shape[place]
        if channels in (1, 3):
            last = place == 3
            height, width = (shape[1], shape[2]) if last else (shape[2], shape[3])
            if height is None or width is None:
                tell(
                    f"pictures become {height or IMAGE_SIZE} x {width or IMAGE_SIZE}, a guess: the "
                    "model leaves sizes open (--input-shape)"
                )
            return height or IMAGE_SIZE, width or IMAGE_SIZE, channels, last
    wanted = f" of layout {layout}" if layout else ""
    raise DataError(
        f"a folder of pictures{wanted} does not fit the model's input {spec.name!r} "
        f"{shape_text(spec.shape)}"
    )


def _mention_usual(name: str, size: Sequence[int], steps: Normalisation | None) -> None:
    """Say what becomes of pictures where nobody said so."""
    pixels = "stay from 0 to 255" if steps is None else "are divided by 255"
    mention(
        f"pictures of {name} are scaled until they cover {size[0]} x {size[1]}, their centre is "
        f"taken, and pixels {pixels} (--preprocess)"
    )


def _eight_bits(picture: Image.Image, path: Path) -> Image.Image:
    """A picture whose pixels have 16 bits with the upper 8 of them; others as they are.

    Converting it would cut all off that is above 255.
    """
    if picture.mode == "F":
        raise DataError(f"{path} holds floating-point pixels; 8 or 16 bits are needed")
    if not picture.mode.startswith("I"):
        return picture
    pixels = np.asarray(picture).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > _SIXTEEN_BITS:
        raise DataError(f"{path} holds pixels of 32 bits; 8 or 16 are needed")
    mention(f"pixels of 16 bits, as in {path}, become 8 bits: 65,535 becomes 255")
    return Image.fromarray(np.rint(pixels / (_SIXTEEN_BITS // 255)).astype(np.uint8))


def _read(path: Path, form: PictureForm, height: int, width: int, channels: int) -> NDArray[Any]:
    try:
        with Image.open(path) as opened:
            given = _eight_bits(opened, path)
            grey, wanted = given.mode in _GREY, channels == 1
            if grey != wanted:
                was, becomes = ("grey", "RGB") if grey else ("coloured", "grey")
                wants = counted(channels, "channel")
                mention(f"{was} pictures become {becomes}, as the model takes {wants}")
            picture = given.convert("L" if wanted else "RGB")
    except DataError:
        raise
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a picture") from error
    return form(picture, height, width)
