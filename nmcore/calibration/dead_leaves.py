"""Dead-leaves pictures and signals, and inputs mixed from the rows of a first layer.

Random overlapping discs whose radii follow a power law have edges, flat regions and correlations
at all scales, as photographs do (A. Lee, D. Mumford, J. Huang: Occlusion Models for Natural Images,
IJCV 2001). Networks trained on photographs answer them with activations whose second moments are
close to the real ones. Some pictures show a single object on plain ground, as drawings, scans and
catalogues do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmcore.group import Float64Array

Float32Array = NDArray[np.float32]

# The radii, relative to the longest side but at least a pixel, have the density r^-3, which looks
# the same at every scale. As many leaves fall as cover everything about so many times.
SMALLEST, LARGEST, COVER = 1 / 75, 0.5, 2.0
# Full contrast drives networks harder than photographs do; colours vary less than brightness.
CONTRAST, CHROMA = 0.6, 0.5
# Not all pictures are photographs: this share shows few leaves, at full contrast, on plain black or
# white ground, as drawings and scans do.
PLAIN, PLAIN_COVER = 0.2, 0.25
# And this share shows one object on such ground: leaves seen through a hole made of a few discs
# about the middle, with radii and scatter relative to the longest side.
OBJECTS = 0.2
HOLES, HOLE_RADII, HOLE_SCATTER = 5, (0.08, 0.35), 0.15
# The weights that a first layer started from say nothing of its inputs; this share of the variance
# is the same in all directions.
UNKNOWN = 0.5


def dead_leaves(count: int, channels: int, size: Sequence[int], *, seed: int = 0) -> Float32Array:
    """Pictures (or signals, or volumes) of overlapping discs, with values from 0 to 1.

    Parameters
    ----------
    count : int
        How many.
    channels : int
        Colour channels; their values in one disc are correlated.
    size : sequence of int
        Length of each spatial axis: (height, width) of a picture, (length,) of a signal. Discs have
        up to three; where there are more axes, the last three are those of discs.
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
    if len(size) > 3:  # more axes are more channels
        more = channels * math.prod(size[:-3])
        return dead_leaves(count, more, size[-3:], seed=seed).reshape(count, channels, *size)
    rng = np.random.default_rng(seed)
    space = (*[1] * (3 - len(size)), *size)
    pictures = np.empty((count, channels, *space), np.float32)
    for picture in pictures:
        kind = rng.random()
        if kind < PLAIN + OBJECTS:
            picture[:] = rng.choice([-1, 1])
        if kind < PLAIN:
            _scatter(rng, picture, _radii(rng, size, PLAIN_COVER))
        elif kind < PLAIN + OBJECTS:
            hole = disc_mask(rng, space)
            picture[:, hole] = _leaves(rng, channels, space, size)[:, hole]
        else:
            picture[:] = CONTRAST * _leaves(rng, channels, space, size)
    values: Float32Array = np.clip(np.float32(0.5) + np.float32(0.5) * pictures, 0, 1)
    return values.reshape(count, channels, *size)


def first_layer_inputs(weight: ArrayLike, count: int, *, seed: int = 0) -> Float32Array:
    """Standard inputs with the covariance that a trained fully connected first layer tells of.

    Gradient descent adds multiples of inputs to the rows of the first layer, so random mixtures of
    its rows vary as the inputs do: ``W' W`` says in which directions, and where nothing ever
    changes (A. Radhakrishnan, D. Beaglehole, P. Pandit, M. Belkin: Mechanism for feature learning
    in neural networks and backpropagation-free machine learning models, Science 383, 2024).

    Parameters
    ----------
    weight : float array, shape (N, F)
        Its rows.
    count : int
        How many inputs.
    seed : int
        The same seed gives the same inputs.

    Returns
    -------
    float32 array, shape (count, F)
        Gaussian, of mean 0; the features' mean variance is 1. Part of it is the same for all
        features, as the weights that training started from hide the rest.

    Examples
    --------
    Nothing reads the second feature:

    >>> x = first_layer_inputs([[1.0, 0.0], [-2.0, 0.0]], 1000)
    >>> x.var(axis=0).round(1)
    array([1.5, 0.5], dtype=float32)
    """
    rows = np.asarray(weight, np.float64)
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((count, rows.shape[1]))
    power = np.square(rows).sum() / rows.shape[1]
    if power == 0 or not np.isfinite(power):  # rows that say nothing, or are damaged
        return white.astype(np.float32)
    mixed = rng.standard_normal((count, len(rows))) @ (rows / np.sqrt(power))
    return np.asarray(np.sqrt(1 - UNKNOWN) * mixed + np.sqrt(UNKNOWN) * white, np.float32)


def _leaves(
    rng: np.random.Generator, channels: int, space: Sequence[int], size: Sequence[int]
) -> Float32Array:
    """A picture that leaves cover, from -1 to 1, shape (channels, *space)."""
    picture = np.empty((channels, *space), np.float32)
    picture[:] = _colours(rng, 1, channels).reshape(-1, 1, 1, 1)
    _scatter(rng, picture, _radii(rng, size, COVER))
    return picture


def _scatter(rng: np.random.Generator, picture: Float32Array, radii: Float64Array) -> None:
    """Draw discs of random colours at random places, some of them partly outside."""
    count, extent = len(radii), _extent(picture.shape[1:])
    centres = rng.uniform(-0.1, 1.1, (count, len(extent))) * extent
    _draw(picture, centres, radii, _colours(rng, count, len(picture)))


def disc_mask(rng: np.random.Generator, space: Sequence[int]) -> NDArray[np.bool_]:
    """Where some discs about the middle are: a random shape of one object.

    Parameters
    ----------
    rng : Generator
        What is random.
    space : sequence of int
        The lengths of three axes, the first ones 1 where there are fewer.

    Returns
    -------
    bool array, shape (*space)
    """
    count = rng.integers(1, HOLES + 1)
    radii = rng.uniform(*HOLE_RADII, count) * max(space)
    centres = (0.5 + HOLE_SCATTER * rng.standard_normal((count, len(space)))) * _extent(space)
    hole = np.zeros((1, *space), np.float32)
    _draw(hole, centres, radii, np.ones((count, 1), np.float32))
    inside: NDArray[np.bool_] = hole[0] > 0
    return inside


def _extent(space: Sequence[int]) -> NDArray[np.int64]:
    """How far places may lie apart along each axis: not at all where its length is 1."""
    return np.array([length if length > 1 else 0 for length in space])


def _colours(rng: np.random.Generator, count: int, channels: int) -> Float32Array:
    """Grey levels with a little colour, from -1 to 1, shape (count, channels)."""
    grey, hue = rng.uniform(-1, 1, (count, 1)), rng.uniform(-1, 1, (count, channels))
    return np.asarray((grey + CHROMA * hue) / np.sqrt(1 + CHROMA**2), np.float32)


def _radii(rng: np.random.Generator, size: Sequence[int], cover: float) -> Float64Array:
    """Radii in pixels with density proportional to r^-3, by inversion of its integral."""
    smallest = max(1.0, SMALLEST * max(size))
    largest = max(LARGEST * max(size), 2 * smallest)
    # The mean of r^2 under that density, for discs; intervals and balls are near enough.
    mean_square = 2 * np.log(largest / smallest) / (smallest**-2 - largest**-2)
    spread = sum(length > 1 for length in size) or 1
    count = int(cover * np.prod(size, dtype=float) / (np.pi * mean_square) ** (spread / 2)) + 1
    low, high = smallest**-2, largest**-2
    radii: Float64Array = (low + rng.random(count) * (high - low)) ** -0.5
    return radii


def _draw(
    picture: Float32Array, centres: Float64Array, radii: Float64Array, colours: Float32Array
) -> None:
    """See :func:`nmcore.calibration.rasterise.draw`."""
    # Commands that draw nothing need not wait for the compiler to load.
    from nmcore.calibration.rasterise import draw

    draw(picture, centres, radii, colours)
