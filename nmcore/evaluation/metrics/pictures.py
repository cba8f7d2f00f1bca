"""How alike pictures are to those of the original."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nmcore.evaluation.metrics.base import Loss, Metric, mean_of
from nmcore.evaluation.outputs import Batch, first_pictures
from nmcore.group import Array

# Below this structural similarity pictures are others.
LOST_SIMILARITY = 0.5
_WINDOW, _SIGMA = 11, 1.5


@dataclass(eq=False)
class Psnr(Metric):
    """The peak signal-to-noise ratio of pictures, in decibel: ``10 log10(peak^2 / mse)``.

    The signal is the original's first output of pictures, the peak the range of all its numbers.
    None where both models give the same, as it is infinite then.
    """

    wrong: float = 0.0
    count: int = 0
    low: float = math.inf
    high: float = -math.inf

    needs: ClassVar[str] = "a floating-point output of rank 4 with 1 or 3 channels"
    relative: ClassVar[bool] = True

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        want, got = first_pictures(batch.original), first_pictures(batch.outputs)
        if want is None or got is None or want.shape != got.shape:
            return
        want, got = want.astype(np.float64), got.astype(np.float64)
        self.wrong += float(np.square(got - want).sum())
        self.count += want.size
        self.low, self.high = min(self.low, float(want.min())), max(self.high, float(want.max()))

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        peak = self.high - self.low
        if not self.count or not math.isfinite(self.wrong) or not self.wrong or not peak:
            return {"psnr": None}
        return {"psnr": 10 * math.log10(peak**2 * self.count / self.wrong)}

    @property
    def was_told(self) -> bool:
        """Whether there were pictures."""
        return self.count > 0

    def told(self) -> str | None:
        """That there is no noise, where that is so."""
        return None if self.wrong or not self.count else "the pictures are those of the original"


@dataclass(eq=False)
class Ssim(Metric):
    """The structural similarity of pictures, at most 1, the mean over pictures and channels.

    Means, variances and covariances are of a Gaussian window of 11 by 11 pixels (sigma 1.5), fewer
    where pictures are smaller, wherever it lies within the picture. Numbers range over 1, 2 or 255
    (from 0 to 1, from -1 to 1, from 0 to 255), the first that holds the original's first pictures.

    References
    ----------
    Z. Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity",
    IEEE Transactions on Image Processing 13(4), 2004.

    Examples
    --------
    >>> ssim = Ssim()
    >>> picture = np.linspace(0, 1, 256).reshape(1, 1, 16, 16)
    >>> ssim.add(Batch([picture], [picture], None, np.arange(1)))
    >>> {name: round(value, 6) for name, value in ssim.values().items()}
    {'ssim': 1.0}
    """

    span: float | None = None
    parts: list[NDArray[np.float64]] = field(default_factory=list)

    needs: ClassVar[str] = "a floating-point output of rank 4 with 1 or 3 channels"

    def add(self, batch: Batch) -> None:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        want, got = first_pictures(batch.original), first_pictures(batch.outputs)
        if want is None or got is None or want.shape != got.shape:
            return
        if want.shape[1] not in (1, 3):
            want, got = np.moveaxis(want, 3, 1), np.moveaxis(got, 3, 1)
        if self.span is None:
            self.span = _span(want)
        found = similarity(want.astype(np.float64), got.astype(np.float64), self.span)
        self.parts.append(np.nan_to_num(found.mean(axis=(1, 2, 3))))

    def values(self) -> Mapping[str, float | None]:
        """See :class:`~nmcore.evaluation.metrics.base.Metric`."""
        return {"ssim": mean_of(self.parts)}

    def loss(self, original: Metric) -> Loss | None:
        """Hundredths."""
        what = "structural similarity to the original's pictures, in hundredths,"
        return Loss.of_parts("ssim", what, [1 - part for part in self.parts], 0.0)

    def told(self) -> str | None:
        """The similarity, where little is left."""
        share = mean_of(self.parts)
        if share is None or not self.is_lost:
            return None
        return f"the structural similarity to the original's pictures is {share:.2f}"

    @property
    def is_lost(self) -> bool:
        """Whether it is below :data:`LOST_SIMILARITY`."""
        share = mean_of(self.parts)
        return share is not None and share < LOST_SIMILARITY


def similarity(one: Array, other: Array, span: float) -> NDArray[np.float64]:
    """The map of structural similarity of pictures (n, channels, height, width)."""
    moments = [_blurred(each) for each in (one, other, one * one, other * other, one * other)]
    mine, his = moments[0], moments[1]
    variances = moments[2] - mine * mine, moments[3] - his * his
    covariance = moments[4] - mine * his
    low, high = (0.01 * span) ** 2, (0.03 * span) ** 2
    above = (2 * mine * his + low) * (2 * covariance + high)
    return np.asarray(above / ((mine * mine + his * his + low) * (sum(variances) + high)))


def _blurred(pictures: Array) -> Array:
    """Pictures through a Gaussian window along their last two axes, where it fits."""
    for axis in (2, 3):
        size = min(_WINDOW, pictures.shape[axis])
        place = np.arange(size) - (size - 1) / 2
        weights = np.exp(-np.square(place / _SIGMA) / 2)
        windows = np.lib.stride_tricks.sliding_window_view(pictures, size, axis=axis)
        pictures = windows @ (weights / weights.sum())
    return pictures


def _span(pictures: Array) -> float:
    """The range that numbers of pictures have."""
    low, high = float(pictures.min()), float(pictures.max())
    for span, (least, most) in {1.0: (0, 1), 2.0: (-1, 1), 255.0: (0, 255)}.items():
        if least <= low and high <= most:
            return span
    return (high - low) or 1.0
