"""Supplementing few photographs: by crops of themselves, and of those in the package.

What a network makes of any input is a target to fit to, so inputs that are like the data will do
for what few of these leave open. Other data are left as they are: with photographs, networks for
spectrograms and for pictures of drawn characters deviated more from the original.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nmcore.calibration import photographs
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.data.batches import Feeds
from nmcore.data.layout import channels_last

Array = NDArray[Any]
Float32Array = NDArray[np.float32]

# An array of so many pixels a side at least, and of so many channels, holds pictures in colour.
SMALLEST, COLOURS = 16, 3
# Where half of the pictures have more equal neighbours than this share, they are drawn or scanned:
# of photographs it was 1 to 4 %, of pages and of drawn characters 89 %.
FLAT = 0.5
# So many photographs judge where none of the data are held back.
JUDGES = 64


def supplemented(calibration: CalibrationSet, wanted: int, *, seed: int = 0) -> CalibrationSet:
    """The same inputs and, where they are photographs and fewer than wanted, a crop of each and
    crops of others.

    Parameters
    ----------
    calibration : CalibrationSet
        Of data. Photographs are pictures in colour of one size, of which few neighbouring pixels
        are equal, and the only input.
    wanted : int
        How many inputs there are to be in all.
    seed : int
        For the crops.

    Examples
    --------
    >>> x = np.random.default_rng(0).random((4, 3, 16, 16), np.float32)
    >>> more = supplemented(CalibrationSet([{"x": x}], 4, True, "4 inputs of here"), 10)
    >>> more.count, more.synthetic, [len(feeds["x"]) for feeds in more.batches]
    (10, 2, [4, 4, 2])
    >>> more.source
    '4 inputs of here, supplemented by 4 crops of them and 2 of other photographs'
    """
    missing = wanted - calibration.count
    if missing <= 0 or not _are_in_colour(calibration):
        return calibration
    (name,) = calibration.batches[0]
    last = channels_last(calibration.batches[0][name].shape)
    arrays = [feeds[name] for feeds in calibration.batches]
    given = np.concatenate([np.moveaxis(x, -1, 1) if last else x for x in arrays])
    if _are_flat(given):
        return calibration
    length = len(arrays[0])

    def batches(pictures: Float32Array) -> list[Feeds]:
        stored = _stored(pictures, given)
        stored = np.ascontiguousarray(np.moveaxis(stored, 1, -1) if last else stored)
        parts = [stored[k : k + length] for k in range(0, len(stored), length)]
        fits = calibration.any_length
        return [{name: each} for each in parts if fits or len(each) == length]

    own = batches(_crops(given[:missing], seed))
    more = missing - len(given)
    others = batches(_photographs(more, given, seed)) if more > 0 else []
    unseen = calibration.unseen or batches(_photographs(JUDGES, given, seed + 1000, unseen=True))
    counts = [sum(len(feeds[name]) for feeds in each) for each in (own, others)]
    told = f", supplemented by {counts[0]} crops of them"
    if others:
        told += f" and {counts[1]} of other photographs"
    return replace(
        calibration,
        batches=[*calibration.batches, *own, *others],
        count=calibration.count + sum(counts),
        synthetic=counts[1],
        source=calibration.source + told,
        unseen=unseen,
    )


def _are_in_colour(calibration: CalibrationSet) -> bool:
    """Whether a network reads pictures in colour of one size, and nothing else."""
    name, *others = calibration.batches[0]
    shapes = {feeds[name].shape[1:] for feeds in calibration.batches}
    if others or calibration.apart or len(shapes) > 1 or len(next(iter(shapes))) != 3:
        return False
    shape = calibration.batches[0][name].shape
    sides, channels = (shape[1:3], shape[3]) if channels_last(shape) else (shape[2:], shape[1])
    return min(sides) >= SMALLEST and channels == COLOURS


def _are_flat(pictures: Array) -> bool:
    """Whether most pictures (n, C, H, W) are mostly of pixels that equal their neighbours."""
    across = (pictures[..., 1:] == pictures[..., :-1]).all(axis=1).mean(axis=(1, 2))
    down = (pictures[..., 1:, :] == pictures[..., :-1, :]).all(axis=1).mean(axis=(1, 2))
    return bool(np.median((across + down) / 2) > FLAT)


def _crops(pictures: Array, seed: int) -> Float32Array:
    """A crop of each picture (n, C, H, W), of the size of the whole. They are not mirrored: signs
    have a left and a right.
    """
    rng = np.random.default_rng(seed)
    height, width = pictures.shape[2:]
    found = np.empty(pictures.shape, np.float32)
    for picture, made in zip(pictures.astype(np.float32), found, strict=True):
        box = photographs.random_box(rng, (width, height), (width, height))
        for channel, values in zip(picture, made, strict=True):
            whole = Image.fromarray(channel)
            values[:] = whole.resize((width, height), Image.Resampling.BICUBIC, box)
    return found


def _photographs(count: int, like: Array, seed: int, *, unseen: bool = False) -> Float32Array:
    """Crops of photographs, (count, C, H, W), each channel of the mean and deviation that it has
    in others.
    """
    made = photographs.crops(count, like.shape[1], like.shape[2:], seed=seed, unseen=unseen)
    pixels = (0, 2, 3)
    given = like.astype(np.float32)
    mean, deviation = (f(pixels, keepdims=True) for f in (given.mean, given.std))
    standard = (made - made.mean(pixels, keepdims=True)) / made.std(pixels, keepdims=True)
    found: Float32Array = standard * deviation + mean
    return found


def _stored(pictures: Float32Array, like: Array) -> Array:
    """Pictures in the type and the range, channel by channel, of others."""
    pixels = (0, 2, 3)
    least, most = (f(pixels, keepdims=True).astype(np.float32) for f in (like.min, like.max))
    clipped = np.clip(pictures, least, most)
    return (clipped if like.dtype.kind == "f" else np.round(clipped)).astype(like.dtype)
