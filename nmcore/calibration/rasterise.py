"""Drawing overlapping discs, compiled."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from nmcore.group import Float64Array

Float32Array = NDArray[np.float32]


@numba.njit(nogil=True, cache=True)
def draw(
    picture: Float32Array, centres: Float64Array, radii: Float64Array, colours: Float32Array
) -> None:
    """Draw balls one over the other into a picture of shape (channels, depth, height, width).

    A picture of fewer axes has leading ones of length 1.

    Parameters
    ----------
    picture : float32 array, shape (channels, depth, height, width)
        Written to.
    centres : float64 array, shape (K, 3)
        In pixels along depth, height and width; the last disc lies on top.
    radii : float64 array, shape (K,)
        In pixels.
    colours : float32 array, shape (K, channels)
        What is written.

    Examples
    --------
    >>> picture = np.zeros((1, 1, 3, 3), np.float32)
    >>> draw(picture, np.ones((1, 3)) * [0, 1, 1], np.array([1.1]), np.ones((1, 1), np.float32))
    >>> picture[0, 0]
    array([[0., 1., 0.],
           [1., 1., 1.],
           [0., 1., 0.]], dtype=float32)
    """
    channels, depth, height, width = picture.shape
    for leaf in range(len(radii)):
        z, y, x = centres[leaf]
        radius = radii[leaf]
        for k in range(max(0, int(z - radius)), min(depth, int(z + radius) + 2)):
            for i in range(max(0, int(y - radius)), min(height, int(y + radius) + 2)):
                for j in range(max(0, int(x - radius)), min(width, int(x + radius) + 2)):
                    if (k - z) ** 2 + (i - y) ** 2 + (j - x) ** 2 < radius**2:
                        for channel in range(channels):
                            picture[channel, k, i, j] = colours[leaf, channel]
