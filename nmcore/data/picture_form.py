"""How a picture becomes numbers: its size, and the order of its colours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nmcore.errors import ArgumentError

ORDERS = ("rgb", "bgr")
LAYOUTS = ("nchw", "nhwc")
RESIZES = ("crop", "stretch", "letterbox", "height")


@dataclass(frozen=True)
class PictureForm:
    """How a picture becomes numbers.

    Attributes
    ----------
    order : {"rgb", "bgr"}
        The order of the colours; mean and std are in the same.
    layout : {"nchw", "nhwc"} or None
        Which axis of the model's input holds the colours; None where its shape tells.
    resize : {"crop", "stretch", "letterbox", "height"}
        Scale until it covers the size that is wanted, and cut the centre out; give both sides the
        size that is wanted; scale until it fits, and pad on all sides; or scale to the height that
        is wanted, and to no more than the width, and pad on the right.
    pad : float, from 0 to 255
        What is padded with, of every colour, before anything is divided.
    """

    order: str = "rgb"
    layout: str | None = None
    resize: str = "crop"
    pad: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("order", ORDERS), ("layout", (None, *LAYOUTS)), ("resize", RESIZES)):
            if getattr(self, name) not in known:
                names = ", ".join(filter(None, known))
                raise ArgumentError(
                    f"preprocess: {name} is {getattr(self, name)!r}; one of {names} is needed"
                )
        is_number = isinstance(self.pad, (int, float)) and not isinstance(self.pad, bool)
        if not is_number or not 0 <= self.pad <= 255:
            raise ArgumentError(
                f"preprocess: pad is {self.pad!r}; a number from 0 to 255 is needed"
            )

    def __call__(self, picture: Image.Image, height: int, width: int) -> NDArray[Any]:
        """The pixels of a picture, shape (height, width, colours).

        They are bytes, unless ``pad`` is no whole number.

        Examples
        --------
        >>> form = PictureForm(resize="letterbox", pad=114)
        >>> form(Image.new("L", (4, 2), 255), 4, 4)[:, 0, 0]
        array([114, 255, 255, 114], dtype=uint8)
        """
        if self.resize == "crop":
            return self._colours(ImageOps.fit(picture, (width, height)))
        if self.resize == "stretch":
            return self._colours(_scaled(picture, height, width))
        factor = height / picture.height
        if self.resize == "letterbox":
            factor = min(factor, width / picture.width)
        inner_width = min(width, max(1, math.ceil(factor * picture.width - 1e-6)))
        inner_height = min(height, max(1, round(factor * picture.height)))
        inner = self._colours(_scaled(picture, inner_height, inner_width))
        top = left = 0
        if self.resize == "letterbox":
            top, left = (height - inner_height) // 2, (width - inner_width) // 2
        dtype = np.uint8 if float(self.pad).is_integer() else np.float32
        padded = np.full((height, width, inner.shape[2]), self.pad, dtype)
        padded[top : top + inner_height, left : left + inner_width] = inner
        return padded

    def _colours(self, picture: Image.Image) -> NDArray[Any]:
        pixels = np.asarray(picture, np.uint8).reshape(picture.height, picture.width, -1)
        return pixels[..., ::-1] if self.order == "bgr" else pixels


def _scaled(picture: Image.Image, height: int, width: int) -> Image.Image:
    return picture.resize((width, height), Image.Resampling.BILINEAR)


USUAL = PictureForm()
