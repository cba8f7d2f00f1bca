"""Plain programs to compare the kernels with, which need NumPy alone.

Each takes the weight (N, D), the kept and the removed channels and a number of threads, and returns
for every removed channel the position in `kept` of the row it finds most similar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nmcore.group import FloatArray, IntArray

Find = Callable[[FloatArray, IntArray, IntArray, int], IntArray]


class Peer(NamedTuple):
    """A program that is timed beside the kernels.

    Attributes
    ----------
    find : callable
        As the module says. Memory is measured in a process of its own, which imports it by its
        name: it must stand in a module.
    pairs : int or None
        With more pairs than this, only as many rows are timed, and their time is multiplied.
    package : str or None
        The distribution that it needs, whose version is reported.
    """

    find: Find
    pairs: int | None = None
    package: str | None = None


def double_loop(weight: FloatArray, kept: IntArray, removed: IntArray, threads: int) -> IntArray:
    """Loop over removed and kept channels, as the published program does."""
    found = []
    for n in removed:
        best, position = -2.0, -1
        for at, p in enumerate(kept):
            lengths = np.linalg.norm(weight[n]) * np.linalg.norm(weight[p])
            cosine = float(np.dot(weight[n], weight[p]) / lengths)
            if cosine > best:
                best, position = cosine, at
        found.append(position)
    return np.array(found)


def numpy_matmul(weight: FloatArray, kept: IntArray, removed: IntArray, threads: int) -> IntArray:
    """Normalise everything, multiply, take the largest."""
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    return np.asarray(np.argmax(unit[removed] @ unit[kept].T, axis=1))


BASELINES: dict[str, Peer] = {
    "double loop": Peer(double_loop, pairs=1 << 17),
    "numpy matmul + argmax": Peer(numpy_matmul),
}
