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

# Radii relative to the longest side, and the exponent of their density: r^-3 looks the same at
# every scale.
SMALLEST, LARGEST, POWER = 0.03, 0.5, 3.0
LEAVES = 120
# Full contrast drives networks harder than photographs do; colours vary less than brightness.
CONTRAST, CHROMA = 0.6, 0.5


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
    >>> x.shape, bool(0 <= x.min() < 0.3), bool(0.7 < x.max() <= 1)
    ((2, 3, 32, 32), True, True)
    >>> dead_leaves(1, 1, (100,)).shape
    (1, 1, 100)
    """
    rng = np.random.default_rng(seed)
    pictures = np.empty((count, channels, *size), np.float32)
    for picture in pictures:
        picture[:] = _colour(rng, channels).reshape(-1, *[1] * len(size))
        for radius in _radii(rng) * max(size):
            _leaf(rng, picture, radius)
    return np.float32(0.5) + np.float32(0.5 * CONTRAST) * pictures


def _colour(rng: np.random.Generator, channels: int) -> Float32Array:
    """A grey level with a little colour, from -1 to 1."""
    grey, hue = rng.uniform(-1, 1), rng.uniform(-1, 1, channels)
    return np.asarray((grey + CHROMA * hue) / np.sqrt(1 + CHROMA**2), np.float32)


def _radii(rng: np.random.Generator) -> NDArray[np.float64]:
    """Radii with density proportional to r^-POWER, by inversion of its integral."""
    exponent = 1 - POWER
    low, high = SMALLEST**exponent, LARGEST**exponent
    radii: NDArray[np.float64] = (low + rng.random(LEAVES) * (high - low)) ** (1 / exponent)
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
