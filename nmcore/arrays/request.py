"""The checked arguments that methods of building Z get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nmcore.group import BatchNorm, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Request:
    """The checked arguments of :func:`nmcore.scaling_matrix`, which documents them."""

    weight: FloatArray
    kept: IntArray
    bias: FloatArray | None
    batchnorm: BatchNorm | None
    threshold: float
    lam: float
    bn_form: str
    depthwise: FloatArray | None
    moments: Any
    ridge: Any
    kernel: str
    threads: int | None

    @property
    def width(self) -> int:
        """N, the number of channels."""
        return len(self.weight)

    @property
    def removed(self) -> IntArray:
        """The channels that are not kept, ascending, shape (N - P,)."""
        return np.delete(np.arange(self.width), self.kept)
