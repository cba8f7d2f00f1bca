"""What is benchmarked: random rows of some size, of which some are kept."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmcore.errors import ArgumentError
from nmcore.group import IntArray

# N x D, P: from a layer of a small network to the feed-forward layer of a language model.
SIZES = ("512x4608,256", "2048x512,1024", "4096x4096,2048", "14336x4096,7168")


@dataclass(frozen=True)
class Size:
    """N rows of length D, of which P are kept."""

    n: int
    d: int
    p: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read ``NxD,P``.

        Raises
        ------
        ArgumentError
            If the text is of another form, or P is not below N.

        Examples
        --------
        >>> Size.parse("512x4608,256")
        Size(n=512, d=4608, p=256)
        >>> Size.parse("512")
        Traceback (most recent call last):
        nmcore.errors.ArgumentError: size: got '512'; need NxD,P with P below N, like 512x4608,256
        """
        try:
            shape, kept = text.split(",")
            n, d = shape.split("x")
            size = cls(int(n), int(d), int(kept))
        except ValueError:
            size = cls(0, 0, 0)
        if not (0 < size.p < size.n and size.d > 0):
            raise ArgumentError(f"size: got {text!r}; need NxD,P with P below N, like 512x4608,256")
        if 4 * size.n * size.d > (memory := _memory()):
            raise ArgumentError(
                f"size: the weights of {text} need more than the {memory:,.0f} bytes here"
            )
        return size

    def __str__(self) -> str:
        return f"{self.n} x {self.d}, {self.p}"

    @property
    def flops(self) -> float:
        """Floating-point operations of the needed products: removed times kept."""
        return 2.0 * (self.n - self.p) * self.p * self.d


def _memory() -> float:
    """The bytes of memory of this machine; infinitely many where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # Windows has no sysconf
        return math.inf


@dataclass(frozen=True, eq=False)
class Problem:
    """A weight, and which rows stay.

    Attributes
    ----------
    weight : float32 array, shape (N, D)
        Independent normal numbers.
    kept, removed : int arrays, shapes (P,) and (N - P,)
        Channels, ascending.
    """

    weight: NDArray[np.float32]
    kept: IntArray
    removed: IntArray

    @classmethod
    def random(cls, size: Size, seed: int) -> Problem:
        """Draw a problem; the same seed gives the same one."""
        rng = np.random.default_rng(seed)
        weight = rng.standard_normal((size.n, size.d), dtype=np.float32)
        kept = np.sort(rng.permutation(size.n)[: size.p])
        return cls(weight, kept, np.delete(np.arange(size.n), kept))
