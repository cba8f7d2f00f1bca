"""Small pictures of inputs, as addresses that hold them."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nmcore.data.normalisation import Normalisation
from nmcore.group import Array

# Pixels of the longer side; and of what is shown without a loss, as it is small in any case.
SIDE, _EXACT = 96, 40
# Inputs with a shorter side are no pictures that anyone could see something in.
_LEAST = 8


def thumbnail(entry: Array, steps: Normalisation | None = None) -> str | None:
    """The address of an image for an input that may be a picture; None for others.

    Parameters
    ----------
    entry : array, shape (1 or 3, height, width) or (height, width, 1 or 3)
        Perhaps with one more axis of 1 in front, before it is normalised. Bytes, or numbers from 0
        to 1, from -1 to 1, or from 0 to 255; others are stretched from the least to the largest.
    steps : Normalisation or None
        What it goes through, which tells the order of its colours.

    Examples
    --------
    >>> thumbnail(np.zeros((3, 16, 16), np.uint8))[:22], thumbnail(np.zeros((7, 16, 16)))
    ('data:image/png;base64,', None)
    """
    pixels = _pixels(entry)
    if pixels is None:
        return None
    if steps is not None and steps.form.order == "bgr" and pixels.shape[2] == 3:
        pixels = pixels[..., ::-1]
    picture = Image.fromarray(np.squeeze(np.ascontiguousarray(pixels)))
    small = max(picture.size) <= _EXACT
    picture.thumbnail((SIDE, SIDE))
    file = BytesIO()
    if small:
        picture.save(file, "PNG", optimize=True)
    else:
        picture.save(file, "JPEG", quality=80)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}"


def _pixels(entry: Array) -> NDArray[np.uint8] | None:
    """Bytes (height, width, 1 or 3), where it may be a picture."""
    if entry.ndim == 4 and len(entry) == 1:
        entry = entry[0]
    if entry.ndim != 3 or entry.dtype.kind not in "uif":
        return None
    if entry.shape[0] in (1, 3):
        entry = np.moveaxis(entry, 0, 2)
    if entry.shape[2] not in (1, 3) or min(entry.shape[:2]) < _LEAST:
        return None
    if entry.dtype == np.uint8:
        return entry
    values = np.nan_to_num(entry.astype(np.float64), posinf=0, neginf=0)
    low, high = _range(values)
    scaled = np.rint(255 * (values - low) / (high - low))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    """What is black, and what is white."""
    least, most = float(values.min()), float(values.max())
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        if low <= least and most <= high:
            return low, high
    return least, most if most > least else least + 1
