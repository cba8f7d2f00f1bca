"""How far two channels stay apart after scaling, because their constants differ.

The two formulas take numbers or arrays alike, so the NumPy and the Numba kernel share them word for
word: the same operations in the same order give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nmcore.group import Float64Array, IntArray

RELEASED = 0
FOLDED = 1
# A scale or distance beyond this is as good as infinite: the pair is no candidate.
LIMIT = 1e300


def released(
    norm_n: Any,
    gamma_n: Any,
    var_n: Any,
    offset_n: Any,
    norm_p: Any,
    gamma_p: Any,
    var_p: Any,
    slope_p: Any,
    mean_p: Any,
    beta_p: Any,
) -> Any:
    """Scale S and bias distance B of the program published with the paper (Kim et al., 2020).

    With s the ratio of norms and v the running variance, S = s (g_p / g_n) (v_n / v_p) and
    B = abs((g_p / v_p) (s (-v_n b_n / g_n + m_n) - m_p) + b_p) / S. ``offset_n`` stands for
    -v_n b_n / g_n + m_n and ``slope_p`` for g_p / v_p.
    """
    s = norm_n / norm_p
    scale = s * (gamma_p / gamma_n) * (var_n / var_p)
    return scale, abs(slope_p * (s * offset_n - mean_p) + beta_p) / scale


def folded(norm_n: Any, bias_n: Any, norm_p: Any, bias_p: Any) -> Any:
    """Scale and bias distance of two channels whose batch norm is part of row and bias.

    The scale is norm_n / norm_p and the distance abs(bias_n - scale bias_p).
    """
    scale = norm_n / norm_p
    return scale, abs(bias_n - scale * bias_p)


_FORMULAS: dict[int, Callable[..., Any]] = {RELEASED: released, FOLDED: folded}


@dataclass(frozen=True, eq=False)
class Bias:
    """The numbers that a formula needs, one column a channel.

    Attributes
    ----------
    form : int
        RELEASED or FOLDED.
    lam : float
        The weight of the cosine distance; the bias distance has the rest.
    query : float64 array, shape (K, columns)
        For the removed channels, in the order of the formula's arguments.
    target : float64 array, shape (columns, T)
        For the kept channels, likewise.
    """

    form: int
    lam: float
    query: Float64Array
    target: Float64Array

    def rows(self, part: IntArray | slice) -> Bias:
        """The same numbers for some of the queries."""
        return replace(self, query=self.query[part])

    def pairs(self, row: IntArray, column: IntArray) -> tuple[Float64Array, Float64Array]:
        """Scale and distance of query ``row[k]`` and target ``column[k]``; B is NaN for none."""
        with np.errstate(all="ignore"):
            return _only_finite(*_FORMULAS[self.form](*self.query[row].T, *self.target[:, column]))

    def grid(self) -> tuple[Float64Array, Float64Array]:
        """Scale and bias distance of every pair, shape (K, T); B is NaN where there is none."""
        with np.errstate(all="ignore"):
            return _only_finite(
                *_FORMULAS[self.form](*self.query.T[:, :, None], *self.target[:, None, :])
            )

    def spread(self) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Return min-max normalised bias distances (K, T), and each row's least and greatest.

        A pair that is no candidate has NaN, and so has a row without any.
        """
        _, distance = self.grid()
        low = np.fmin.reduce(distance, axis=1)
        high = np.fmax.reduce(distance, axis=1)
        return normalised(distance, low[:, None], high[:, None]), low, high


def _only_finite(scale: Float64Array, distance: Float64Array) -> tuple[Float64Array, Float64Array]:
    # Written so that NaN fails it; a negative S makes a negative B, as the published program has
    # it.
    usable = (np.abs(scale) < LIMIT) & (np.abs(distance) < LIMIT)
    return scale, np.where(usable, distance, np.nan)


def normalised(distance: Float64Array, low: Float64Array, high: Float64Array) -> Float64Array:
    """Min-max normalised bias distances; 0 where a row's distances are all the same.

    Examples
    --------
    >>> normalised(np.array([1.0, 2.0, 5.0]), np.array(1.0), np.array(5.0))
    array([0.  , 0.25, 1.  ])
    >>> normalised(np.array([3.0]), np.array(3.0), np.array(3.0))
    array([0.])
    """
    span = high - low
    return (distance - low) / np.where(span > 0, span, 1.0)
