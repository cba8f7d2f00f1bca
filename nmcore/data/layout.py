"""Which axis of an array holds the channels of a picture."""

from __future__ import annotations

from collections.abc import Sequence

from nmcore.errors import DataError
from nmcore.utils.text import shape_text


def channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the last axis is the one that holds colours."""
    return len(shape) > 3 and shape[-1] in (1, 3, 4) and shape[1] not in (1, 3, 4)


def channel_axis(shape: Sequence[int], channels: int) -> int:
    """Return the axis of ``x`` that a mean of so many numbers runs along.

    The second axis (NCHW) where it has that size, else the last one (NHWC).

    Raises
    ------
    DataError
        Neither has that size.

    Examples
    --------
    >>> channel_axis((100, 3, 32, 32), 3), channel_axis((100, 32, 32, 3), 3)
    (1, 3)
    >>> channel_axis((100, 32), 1)
    1
    """
    axes = [axis for axis in (1, len(shape) - 1) if 0 < axis < len(shape)]
    if channels == 1:
        return axes[0] if axes else 0
    for axis in axes:
        if shape[axis] == channels:
            return axis
    raise DataError(
        f"mean or std has {channels} numbers; x has shape {shape_text(shape)}, "
        "so give one number or one a channel"
    )


def sides_and_channels(shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """The height and width, and the number of channels, of pictures of a shape of four axes.

    Examples
    --------
    >>> sides_and_channels((8, 3, 32, 40)), sides_and_channels((8, 32, 40, 3))
    (((32, 40), 3), ((32, 40), 3))
    """
    return (shape[1:3], shape[3]) if channels_last(shape) else (shape[2:], shape[1])
