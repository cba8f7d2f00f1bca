"""Inputs made from nothing: dead-leaves pictures and signals, token ids, masks.

Random overlapping discs whose radii follow a power law have edges, flat regions and correlations
at all scales, as photographs do (A. Lee, D. Mumford, J. Huang: Occlusion Models for Natural Images,
IJCV 2001). Networks trained on photographs answer them with activations whose second moments are
close to the real ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

# The radii, relative to the longest side but at least a pixel, have the density r^-3, which looks
# the same at every scale. As many leaves fall as cover everything about so many times.
SMALLEST, LARGEST, COVER = 1 / 75, 0.5, 2.0
# Full contrast drives networks harder than photographs do; colours vary less than brightness.
CONTRAST, CHROMA = 0.6, 0.5
# Not all pictures are photographs: this share shows few leaves, at full contrast, on plain black or
# white, as drawings, scans and pictures of single objects do.
PLAIN, PLAIN_COVER = 0.2, 0.25


def dead_leaves(count: int, channels: int, size: Sequence[int], *, seed: int = 0) -> Float32Array:
    """Pictures (or signals, or volumes) of overlapping discs, with values from 0 to 1.

    Parameters
    ----------
    count : int
        How many.
    channels : int
        Colour channels; their values in one disc are correlated.
    size : sequence of int
        Length of each spatial axis: (height, width) of a picture, (length,) of a signal.
    seed : int
        The same seed gives the same pictures.

    Returns
    -------
    float32 array, shape (count, channels, *size)

    Examples
    --------
    >>> x = dead_leaves(2, 3, (32, 32))
    >>> x.shape, bool(0 <= x.min() < 0.4), bool(0.6 < x.max() <= 1)
    ((2, 3, 32, 32), True, True)
    >>> dead_leaves(1, 1, (100,)).shape
    (1, 1, 100)
    """
    rng = np.random.default_rng(seed)
    pictures = np.empty((count, channels, *size), np.float32)
    for picture in pictures:
        plain = rng.random() < PLAIN
        if plain:
            picture[:] = rng.choice([-1, 1])
        else:
            picture[:] = _colour(rng, channels).reshape(-1, *[1] * len(size))
        for radius in _radii(rng, size, PLAIN_COVER if plain else COVER):
            _leaf(rng, picture, radius)
        if not plain:
            picture *= CONTRAST
    values: Float32Array = np.clip(np.float32(0.5) + np.float32(0.5) * pictures, 0, 1)
    return values


def _colour(rng: np.random.Generator, channels: int) -> Float32Array:
    """A grey level with a little colour, from -1 to 1."""
    grey, hue = rng.uniform(-1, 1), rng.uniform(-1, 1, channels)
    return np.asarray((grey + CHROMA * hue) / np.sqrt(1 + CHROMA**2), np.float32)


def _radii(rng: np.random.Generator, size: Sequence[int], cover: float) -> NDArray[np.float64]:
    """Radii in pixels with density proportional to r^-3, by inversion of its integral."""
    smallest = max(1.0, SMALLEST * max(size))
    largest = max(LARGEST * max(size), 2 * smallest)
    # The mean of r^2 under that density, for discs; intervals and balls are near enough.
    mean_square = 2 * np.log(largest / smallest) / (smallest**-2 - largest**-2)
    spread = sum(length > 1 for length in size) or 1
    count = int(cover * np.prod(size, dtype=float) / (np.pi * mean_square) ** (spread / 2)) + 1
    low, high = smallest**-2, largest**-2
    radii: NDArray[np.float64] = (low + rng.random(count) * (high - low)) ** -0.5
    return radii


def _leaf(rng: np.random.Generator, picture: Float32Array, radius: float) -> None:
    """Draw one disc of a random colour at a random place, some of it outside the picture."""
    size = picture.shape[1:]
    centre = [rng.uniform(-0.1 * length, 1.1 * length) for length in size]
    window = tuple(
        slice(max(0, int(middle - radius)), max(0, min(length, int(middle + radius) + 2)))
        for middle, length in zip(centre, size, strict=True)
    )
    axes = np.ogrid[window]
    squares = [(axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True)]
    inside = sum(squares) < radius**2
    colour = _colour(rng, len(picture))
    picture[(slice(None), *window)] = np.where(
        inside, colour.reshape(-1, *[1] * len(size)), picture[(slice(None), *window)]
    )
