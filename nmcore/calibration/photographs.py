"""Pictures cut out of the photographs in the package.

The photographs are in the public domain or under CC0; `photos/README.md` says what each shows, who
took it and where it is from. Crops of random place, size, shape and side vary as the inputs of
networks for pictures do, and as in their training (random resized crops: C. Szegedy et al., Going
Deeper with Convolutions, CVPR 2015, section 6; of varied contrast, brightness and colour: A. G.
Howard, Some Improvements on Deep Convolutional Neural Network Based Image Classification, 2013,
section 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from nmcore.calibration.dead_leaves import disc_mask

Float32Array = NDArray[np.float32]

# The share of a photograph's area that is cut out, and the most that width and height differ by.
AREA, ASPECT = (0.5, 1.0), 4 / 3
# The factors, even on a logarithmic scale, by which crops in colour differ from their photographs.
# Few photographs are as colourful as many pictures are, and all lose sharpness as they are made
# smaller. Networks for grey pictures lost accuracy by it.
VARIED = (
    (ImageEnhance.Color, (0.5, 3.0)),
    (ImageEnhance.Contrast, (0.6, 1.6)),
    (ImageEnhance.Brightness, (0.7, 1.3)),
    (ImageEnhance.Sharpness, (1.0, 2.5)),
)
# The share of crops without colour.
GREY = 0.1
# Networks for grey pictures are mostly for scans, drawings and centred shapes. This share of their
# crops are seen through a hole in plain black or white.
OBJECTS = 0.5
# Every so manieth photograph is kept apart for inputs that nothing was measured on.
UNSEEN_EVERY = 5


def crops(
    count: int, channels: int, size: Sequence[int], *, seed: int = 0, unseen: bool = False
) -> Float32Array:
    """Random crops of photographs, some mirrored and some grey, with values from 0 to 1.

    Those of three channels vary in colour, contrast, brightness and sharpness; half of those of one
    channel show an object on plain black or white.

    Parameters
    ----------
    count : int
        How many. All photographs take turns.
    channels : int
        1 for grey, or 3.
    size : sequence of int
        Height and width of a crop.
    seed : int
        The same seed gives the same crops.
    unseen : bool
        Of the photographs that are kept apart, rather than of the others.

    Returns
    -------
    float32 array, shape (count, channels, height, width)

    Examples
    --------
    >>> x = crops(2, 3, (32, 32))
    >>> x.shape, bool(0 <= x.min() < x.max() <= 1)
    ((2, 3, 32, 32), True)
    """
    rng = np.random.default_rng(seed)
    apart = [k % UNSEEN_EVERY == 0 for k in range(len(names_of_photographs()))]
    names = [n for n, kept in zip(names_of_photographs(), apart, strict=True) if kept == unseen]
    order = np.concatenate([rng.permutation(len(names)) for _ in range(-(-count // len(names)))])
    pictures = np.empty((count, channels, *size), np.float32)
    for picture, k in zip(pictures, order[:count], strict=True):
        picture[:] = np.moveaxis(_crop(rng, _photograph(names[k]), channels, size), -1, 0)
        if channels == 1 and rng.random() < OBJECTS:
            picture[:, ~disc_mask(rng, (1, *size))[0]] = rng.integers(2)
    return pictures


def names_of_photographs() -> list[str]:
    """The names of the files, in alphabetical order."""
    folder = files("nmcore.calibration") / "photos"
    return sorted(file.name for file in folder.iterdir() if file.name.endswith(".jpg"))


@cache
def _photograph(name: str) -> Image.Image:
    with (files("nmcore.calibration") / "photos" / name).open("rb") as file:
        return Image.open(file).convert("RGB")


def random_box(
    rng: np.random.Generator, whole: tuple[int, int], size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is cut out of a picture.

    Parameters
    ----------
    rng : numpy.random.Generator
        Chooses its area, its place and, within bounds, its shape.
    whole, size : (int, int)
        The width and height of the picture, and of what the crop is made to be.

    Examples
    --------
    >>> left, top, right, bottom = random_box(np.random.default_rng(0), (100, 80), (10, 10))
    >>> 0 <= left < right <= 100, 0 <= top < bottom <= 80, (right - left) * (bottom - top) >= 4000
    (True, True, True)
    """
    area = rng.uniform(*AREA) * whole[0] * whole[1]
    aspect = size[0] / size[1] * ASPECT ** rng.uniform(-1, 1)
    wide = min(math.sqrt(area * aspect), whole[0])
    high = min(math.sqrt(area / aspect), whole[1])
    left = rng.uniform(0, whole[0] - wide)
    top = rng.uniform(0, whole[1] - high)
    return left, top, left + wide, top + high


def _crop(
    rng: np.random.Generator, photograph: Image.Image, channels: int, size: Sequence[int]
) -> Float32Array:
    """A piece of a photograph, from 0 to 1, shape (height, width, channels)."""
    height, width = size
    box = random_box(rng, photograph.size, (width, height))
    sharp = Image.Resampling.BICUBIC if channels == 3 else Image.Resampling.BILINEAR
    piece = photograph.resize((width, height), sharp, box)
    if channels == 3:
        for enhancer, (least, most) in VARIED:
            piece = enhancer(piece).enhance(least * (most / least) ** rng.random())
    if rng.random() < 0.5:
        piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < GREY or channels == 1:
        piece = piece.convert("L")
    if channels == 3:
        piece = piece.convert("RGB")
    return np.asarray(piece, np.float32).reshape(height, width, channels) / np.float32(255)
