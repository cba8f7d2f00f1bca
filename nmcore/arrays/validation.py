"""Checks of the arguments of public array functions; nothing is checked inside.

Each function returns its argument in the form that the kernels expect, or raises
:class:`~nmcore.errors.ArgumentError` saying which argument is wrong, what it is and what it must
be.
"""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmcore.errors import ArgumentError, not_finite
from nmcore.group import BatchNorm, FloatArray, IntArray

_CHUNK = 1 << 20
# So many letters of an unusable value are shown.
_SHOWN = 60


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of this type hold real floating-point numbers, bfloat16 among them.

    Examples
    --------
    >>> is_float(np.dtype("float16")), is_float(np.dtype("int8")), is_float(np.dtype("complex64"))
    (True, False, False)
    """
    return bool(np.issubdtype(dtype, np.floating)) or dtype.name == "bfloat16"


def float_array(
    value: ArrayLike, name: str, *, min_rank: int = 1, check_finite: bool = True
) -> FloatArray:
    """Return an array of finite floating-point numbers; the caller's memory is never copied.

    Parameters
    ----------
    value : array, any shape of at least `min_rank` axes
        What the user gave.
    name : str
        What the user calls it.
    min_rank : int
        The least number of axes.
    check_finite : bool
        Whether to look for NaN and infinity. Who reads every number anyway does better to look
        then: reading a large array takes as long as a good part of the work.

    Returns
    -------
    array
        The same memory.

    Raises
    ------
    ArgumentError
        If it is no floating-point array, is empty, or holds NaN or infinity.

    Examples
    --------
    >>> float_array([1, 2], "weight")
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: weight: got int64 numbers; need floating point ...
    """
    array = _as_array(value, name)
    if not is_float(array.dtype):
        raise ArgumentError(
            f"{name}: got {array.dtype} numbers; need floating point "
            f"(float16, bfloat16, float32 or float64): dequantise or cast them first"
        )
    if array.ndim < min_rank:
        raise ArgumentError(f"{name}: got shape {array.shape}; need at least {min_rank} axes")
    if array.size == 0:
        raise ArgumentError(f"{name}: got the empty shape {array.shape}; need at least one number")
    if check_finite and not all_finite(array):
        raise not_finite(name)
    return array


def _integer(value: Any, name: str, needed: str = "an integer") -> int:
    try:
        return operator.index(value)
    except TypeError:
        shown = " ".join(repr(value).split())
        raise ArgumentError(f"{name}: got {shown[:_SHOWN]}; need {needed}") from None


def _as_array(value: ArrayLike, name: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:  # rows of different lengths, say
        raise ArgumentError(
            f"{name}: got no array of numbers ({str(error).splitlines()[0]})"
        ) from None


def all_finite(array: FloatArray) -> bool:
    """Whether no number is NaN or infinite; reads the memory once and keeps no full-size mask."""
    if array.size <= _CHUNK or array.ndim == 1:
        return _chunk_is_finite(array)
    step = max(1, _CHUNK * len(array) // array.size)
    return all(
        _chunk_is_finite(array[start : start + step]) for start in range(0, len(array), step)
    )


def _chunk_is_finite(array: FloatArray) -> bool:
    # A sum of squares is finite only if every term is; it is the fastest way to look at all of
    # them. Squares may overflow without any term being infinite, so a bad sum is looked into.
    if array.dtype in (np.float32, np.float64) and array.flags.c_contiguous:
        flat = array.reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(np.dot(flat, flat)):
                return True
    return bool(np.isfinite(array).all())


def vector(value: ArrayLike | None, name: str, length: int) -> FloatArray | None:
    """Return a finite float array of shape (length,), or None where none was given.

    Raises
    ------
    ArgumentError
        If the shape differs or a number is unusable.

    Examples
    --------
    >>> vector(np.zeros(3), "bias", 4)
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: bias: got shape (3,); need (4,), one entry a channel
    """
    if value is None:
        return None
    array = float_array(value, name)
    if array.shape != (length,):
        raise ArgumentError(
            f"{name}: got shape {array.shape}; need ({length},), one entry a channel"
        )
    return array


def keep_count(value: Any, width: int) -> int:
    """Return how many of `width` channels to keep, an integer from 1 to `width`.

    Examples
    --------
    >>> keep_count(5, 4)
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: keep: got 5; need a count from 1 to 4, the number of channels
    """
    if isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"keep: got {value!r}; need a count, an integer")
    count = _integer(value, "keep", "a count, an integer")
    if not 1 <= count <= width:
        raise ArgumentError(
            f"keep: got {count}; need a count from 1 to {width}, the number of channels"
        )
    return count


def kept_channels(value: ArrayLike, width: int) -> IntArray:
    """Return the kept channels as an ascending array of indices below `width`.

    Raises
    ------
    ArgumentError
        If there are none, or they are not integers, repeat, descend or leave [0, width).

    Examples
    --------
    >>> kept_channels([0, 2, 2], 4)
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: kept: 2 does not ascend after 2; need distinct ascending channels
    """
    kept = _as_array(value, "kept")
    if kept.ndim != 1 or kept.size == 0:
        raise ArgumentError(f"kept: got shape {kept.shape}; need (P,) with P at least 1")
    if not np.issubdtype(kept.dtype, np.integer):
        raise ArgumentError(f"kept: got {kept.dtype} numbers; need integer channel indices")
    outside = kept[(kept < 0) | (kept >= width)]
    if outside.size:
        raise ArgumentError(f"kept: got {outside[0]}; need indices from 0 to {width - 1}")
    (falls,) = np.nonzero(kept[1:] <= kept[:-1])
    if falls.size:
        at = falls[0]
        raise ArgumentError(
            f"kept: {kept[at + 1]} does not ascend after {kept[at]}; "
            f"need distinct ascending channels"
        )
    return kept.astype(np.intp)


def seed_number(value: Any) -> int:
    """Return a seed, an integer from 0.

    Examples
    --------
    >>> seed_number(-1)
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: seed: got -1; need an integer from 0
    """
    seed = _integer(value, "seed", "an integer from 0")
    if seed < 0:
        raise ArgumentError(f"seed: got {seed}; need an integer from 0")
    return seed


def choice(value: Any, name: str, options: Collection[str]) -> str:
    """Return a word that is one of `options`.

    Examples
    --------
    >>> choice("l3", "criterion", ["l1", "l2"])
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: criterion: got 'l3'; need one of l1, l2
    """
    if not isinstance(value, str) or value not in options:
        raise ArgumentError(f"{name}: got {value!r}; need one of {', '.join(sorted(options))}")
    return value


def number(value: Any, name: str, low: float, high: float) -> float:
    """Return a number in [low, high].

    Examples
    --------
    >>> number(1.5, "lam", 0, 1)
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: lam: got 1.5; need a number from 0 to 1
    """
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = float("nan")
    if not low <= result <= high:
        raise ArgumentError(f"{name}: got {value!r}; need a number from {low} to {high}")
    return result


def thread_limit(value: Any) -> int | None:
    """Return a number of threads of at least 1, or None.

    Examples
    --------
    >>> thread_limit(0)
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: threads: got 0; need None or an integer of at least 1
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ArgumentError(f"threads: got {value!r}; need None or an integer of at least 1")
    return int(value)


def batch_norm(value: BatchNorm | None, width: int) -> BatchNorm | None:
    """Return a batch norm whose arrays are float64 of shape (width,), or None.

    Raises
    ------
    ArgumentError
        If a shape differs, a number is not finite, or a variance is negative.

    Examples
    --------
    >>> one = np.ones(2)
    >>> batch_norm(BatchNorm(one, one, one, -one), 2)
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: batchnorm.var: got -1.0; need variances of at least 0
    """
    if value is None:
        return None
    if not isinstance(value, BatchNorm):
        raise ArgumentError(
            f"batchnorm: got {type(value).__name__}; need an nmcore.BatchNorm of gamma, beta, mean "
            "and var"
        )
    fields: dict[str, NDArray[np.float64]] = {}
    for name in ("gamma", "beta", "mean", "var"):
        array = vector(getattr(value, name), f"batchnorm.{name}", width)
        if array is None:
            raise ArgumentError(f"batchnorm.{name}: got None; need shape ({width},)")
        fields[name] = array.astype(np.float64)
    if fields["var"].min() < 0:
        raise ArgumentError(
            f"batchnorm.var: got {fields['var'].min()}; need variances of at least 0"
        )
    eps = number(value.eps, "batchnorm.eps", 0, float("inf"))
    return BatchNorm(**fields, eps=eps)


def next_layer(value: ArrayLike, width: int, axis: int, repeat: int) -> FloatArray:
    """Return the weight that reads the channels, with `repeat` entries of `axis` for each.

    Raises
    ------
    ArgumentError
        If the axis does not exist or does not have `width * repeat` entries.

    Examples
    --------
    >>> next_layer(np.ones((10, 6)), width=4, axis=1, repeat=1)
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: next_weight: got 6 entries on axis 1 of shape (10, 6); need 4 ...
    """
    weight = float_array(value, "next_weight")
    axis, repeat = _integer(axis, "axis"), _integer(repeat, "repeat")
    if not -weight.ndim <= axis < weight.ndim:
        raise ArgumentError(f"axis: got {axis}; need an axis of next_weight's shape {weight.shape}")
    if repeat < 1:
        raise ArgumentError(f"repeat: got {repeat}; need at least 1")
    if weight.shape[axis] != width * repeat:
        raise ArgumentError(
            f"next_weight: got {weight.shape[axis]} entries on axis {axis} of shape "
            f"{weight.shape}; need {width * repeat} ({width} channels times repeat {repeat})"
        )
    return weight


def symmetric(value: ArrayLike, name: str, width: int | None = None) -> NDArray[np.float64]:
    """Return a finite symmetric float64 matrix, of shape (width, width) where a width is given.

    Examples
    --------
    >>> symmetric(np.ones((2, 3)), "covariance")
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: covariance: got shape (2, 3); need a square matrix
    """
    matrix = float_array(value, name, min_rank=2)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ArgumentError(f"{name}: got shape {matrix.shape}; need a square matrix")
    if width is not None and len(matrix) != width:
        raise ArgumentError(f"{name}: got shape {matrix.shape}; need ({width}, {width})")
    return matrix.astype(np.float64)
