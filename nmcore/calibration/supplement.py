"""Supplementing few photographs: by crops of themselves, and of those in the package.

What a network makes of any input is a target to fit to, so inputs that are like the data will do
for what few of these leave open. Pictures of other kinds are left as they are: with photographs,
networks for spectrograms and for drawn characters deviated more from the original.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nmcore.calibration import photographs
from nmcore.calibration.calibration_set import CalibrationSet, fitting_batch
from nmcore.data.batches import Feeds
from nmcore.data.layout import channels_last, sides_and_channels
from nmcore.utils.text import counted

Array = NDArray[Any]
Float32Array = NDArray[np.float32]

# Photographs have so many pixels a side at least, and so many channels.
SMALLEST, COLOURS = 16, 3
# Where half of the pictures have more equal neighbours than this share, they are drawn or scanned:
# of photographs it was 1 to 4 %, of pages and of drawn characters 89 %.
FLAT = 0.5
# Colours correlate in photographs (0.9 on ImageNet and CIFAR-10), but not fully as in grey ones.
ALIKE = (0.5, 0.999)
# So many photographs judge where none of the data are held back.
JUDGES = 64
SEED, JUDGES_SEED = 0, 1000


def supplemented(calibration: CalibrationSet, wanted: int, *, bgr: bool = False) -> CalibrationSet:
    """The same inputs and, where they are photographs and fewer than wanted, a crop of each and
    crops of others.

    Parameters
    ----------
    calibration : CalibrationSet
        Of data. Photographs are told by the only input being pictures of one size, whose three
        channels correlate and whose neighbouring pixels are seldom equal.
    wanted : int
        How many inputs there are to be in all; where the model fixes its batch, as many as fill
        whole ones.
    bgr : bool
        Whether blue is the first channel.

    Examples
    --------
    >>> x = photographs.crops(4, 3, (16, 16))
    >>> more = supplemented(CalibrationSet([{"x": x}], 4, True, "4 inputs of here"), 10)
    >>> more.count, more.synthetic, more.source
    (10, 2, '4 inputs of here, supplemented by 4 crops of them and 2 of other photographs')
    """
    missing = wanted - calibration.count
    if missing <= 0 or not _are_pictures(calibration):
        return calibration
    (name,) = calibration.batches[0]
    arrays = [feeds[name] for feeds in calibration.batches]
    last = channels_last(arrays[0].shape)
    given = np.concatenate([np.moveaxis(x, -1, 1) if last else x for x in arrays])
    if not _are_photographs(given):
        return calibration
    fixed = None if calibration.any_length else len(arrays[0])
    length = fixed or fitting_batch(given.shape[1:], wanted)

    def batches(pictures: Float32Array) -> list[Feeds]:
        stored = _stored(pictures, given)
        stored = np.ascontiguousarray(np.moveaxis(stored, 1, -1) if last else stored)
        parts = [stored[k : k + length] for k in range(0, len(stored), length)]
        return [{name: each} for each in parts if len(each) == length or not fixed]

    own = batches(_crops(given[:missing]))
    more = missing - len(given)
    others = batches(_photographs(more, given, SEED, bgr=bgr)) if more > 0 else []
    if not own and not others:
        return calibration
    unseen = calibration.unseen
    if not unseen:
        judges = -(-JUDGES // fixed) * fixed if fixed else JUDGES
        unseen = batches(_photographs(judges, given, JUDGES_SEED, bgr=bgr, unseen=True))
    crops, synthetic = (sum(len(feeds[name]) for feeds in each) for each in (own, others))
    told = [f"{counted(crops, 'crop')} of them"] if crops else []
    told += [f"{synthetic} of other photographs"] if synthetic else []
    return replace(
        calibration,
        batches=[*calibration.batches, *own, *others],
        count=calibration.count + crops + synthetic,
        synthetic=synthetic,
        source=f"{calibration.source}, supplemented by {' and '.join(told)}",
        unseen=unseen,
        judges_synthetic=not calibration.unseen,
    )


def _are_pictures(calibration: CalibrationSet) -> bool:
    """Whether a network reads pictures in colour of one size, and nothing else."""
    name, *others = calibration.batches[0]
    shapes = {feeds[name].shape[1:] for feeds in calibration.batches}
    if others or calibration.apart or len(shapes) > 1 or len(next(iter(shapes))) != 3:
        return False
    sides, channels = sides_and_channels(calibration.batches[0][name].shape)
    return min(sides) >= SMALLEST and channels == COLOURS


def _are_photographs(pictures: Array) -> bool:
    """Whether pictures (n, 3, H, W) are neither drawn, nor grey, nor anything else."""
    across = (pictures[..., 1:] == pictures[..., :-1]).all(axis=1).mean(axis=(1, 2))
    down = (pictures[..., 1:, :] == pictures[..., :-1, :]).all(axis=1).mean(axis=(1, 2))
    first, second, third = np.moveaxis(pictures, 1, 0).reshape(COLOURS, -1).astype(np.float64)
    alike = [_correlation(*pair) for pair in ((first, second), (second, third))]
    least, most = ALIKE
    return bool(np.median((across + down) / 2) <= FLAT and min(alike) > least and max(alike) < most)


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Of two channels; 0 where one is constant."""
    x, y = x - x.mean(), y - y.mean()
    product = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / product if product > 0 else 0.0


def _crops(pictures: Array) -> Float32Array:
    """A crop of each picture (n, C, H, W), of the size of the whole. They are not mirrored: signs
    have a left and a right.
    """
    rng = np.random.default_rng(SEED)
    height, width = pictures.shape[2:]
    found = np.empty(pictures.shape, np.float32)
    for picture, made in zip(pictures, found, strict=True):
        box = photographs.random_box(rng, (width, height), (width, height))
        for channel, values in zip(picture.astype(np.float32), made, strict=True):
            whole = Image.fromarray(channel)
            values[:] = whole.resize((width, height), Image.Resampling.BICUBIC, box)
    return found


def _photographs(
    count: int, like: Array, seed: int, *, bgr: bool, unseen: bool = False
) -> Float32Array:
    """Crops of photographs, (count, C, H, W), each channel of the mean and deviation that it has
    in others.
    """
    made = photographs.crops(count, COLOURS, like.shape[2:], seed=seed, unseen=unseen)
    made = made[:, ::-1] if bgr else made
    for channel in range(COLOURS):
        values, given = made[:, channel], like[:, channel].astype(np.float32)
        values -= values.mean()
        values *= given.std() / values.std()
        values += given.mean()
    return made


def _stored(pictures: Float32Array, like: Array) -> Array:
    """Pictures in the type and the range, channel by channel, of others; changed in place."""
    for channel in range(COLOURS):
        given = like[:, channel]
        least, most = given.min().astype(np.float32), given.max().astype(np.float32)
        np.clip(pictures[:, channel], least, most, out=pictures[:, channel])
    if like.dtype.kind in "iu":
        np.round(pictures, out=pictures)
    return pictures.astype(like.dtype)
