"""Augmentation: pictures moved by a pixel, or with one half taken from another picture.

What a network makes of a copy is as good a target as what it makes of the picture, so a layer with
more weights than there are pictures can be fitted to copies as well. They are not mirrored: letters
and clothes have a left and a right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.data.layout import channels_last, sides_and_channels

# Where copies are moved to, down and to the right; pixels at the border are repeated.
MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))
# The picture itself, moved, and with its upper, lower, left or right half from another one.
VERSIONS = 1 + len(MOVES) + 4
# Of so many pixels a side at least, one is next to nothing; and so many channels pictures have.
SMALLEST, CHANNELS = 16, (1, 3, 4)


def augmented(calibration: CalibrationSet, versions: int) -> CalibrationSet:
    """The same pictures in so many versions, at most :data:`VERSIONS`; other inputs as they are.

    Examples
    --------
    >>> def shown(*shape):
    ...     x = np.zeros(shape, np.float32)
    ...     return augmented(CalibrationSet([{"x": x}], len(x), True, "here"), 9).count
    >>> shown(4, 1, 28, 28), shown(4, 28, 28, 3), shown(4, 784)
    (36, 36, 4)
    """
    name, *others = calibration.batches[0]
    shape = calibration.batches[0][name].shape
    same = {feeds[name].shape[1:] for feeds in calibration.batches} == {shape[1:]}
    if others or not same or not _are_pictures(shape):
        return calibration
    pictures = np.concatenate([feeds[name] for feeds in calibration.batches])
    places = np.cumsum([len(feeds[name]) for feeds in calibration.batches])[:-1]
    made = list(islice(copies(pictures, last=channels_last(shape)), versions))
    batches = [{name: part} for version in made for part in np.split(version, places)]
    return replace(calibration, batches=batches, count=len(made) * calibration.count)


def _are_pictures(shape: tuple[int, ...]) -> bool:
    if len(shape) != 4:
        return False
    sides, channels = sides_and_channels(shape)
    return min(sides) >= SMALLEST and channels in CHANNELS


def copies(pictures: NDArray[Any], *, last: bool) -> Iterator[NDArray[Any]]:
    """All versions of some pictures: themselves, moved, with half of another one.

    Parameters
    ----------
    pictures : array, shape (n, C, H, W) or (n, H, W, C)
        The pictures.
    last : bool
        Whether it is the latter.

    Yields
    ------
    array of the same shape

    Examples
    --------
    >>> for version in islice(copies(np.array([[[[1, 2, 3]]]]), last=False), 2):
    ...     print(version.ravel())
    [1 2 3]
    [1 1 2]
    """
    yield pictures
    down, across = (1, 2) if last else (2, 3)
    for move in MOVES:
        yield _moved(_moved(pictures, move[0], down), move[1], across)
    rng = np.random.default_rng(0)
    for axis in (down, across):
        for first in (True, False):
            yield _halved(pictures, pictures[rng.permutation(len(pictures))], axis, first)


def _moved(pictures: NDArray[Any], by: int, axis: int) -> NDArray[Any]:
    """Move along an axis and repeat the border."""
    places = np.clip(np.arange(pictures.shape[axis]) - by, 0, pictures.shape[axis] - 1)
    return np.take(pictures, places, axis)


def _halved(pictures: NDArray[Any], others: NDArray[Any], axis: int, first: bool) -> NDArray[Any]:
    """Pictures whose first or last half along an axis comes from others."""
    length = pictures.shape[axis]
    shape = [1] * pictures.ndim
    shape[axis] = length
    in_first = (np.arange(length) < length // 2).reshape(shape)
    return np.where(in_first == first, others, pictures)
