"""Weights as NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from nmcore.group import FloatArray, IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place

# For some axes of a weight, which entries stay.
Masks = Mapping[int, NDArray[np.bool_]]


def computable(array: NDArray[Any]) -> FloatArray:
    """The array in a type that NumPy computes in: half precision becomes float32.

    >>> computable(np.ones(2, np.float16)).dtype
    dtype('float32')
    """
    if array.dtype in (np.float16, ml_dtypes.bfloat16):
        return array.astype(np.float32)
    return array


def stored(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array as a file stores it; beyond what half precision holds its largest number stands.

    >>> stored(np.array([1e9, -1.0]), np.dtype(np.float16)).tolist()
    [65504.0, -1.0]
    """
    if dtype == np.float16 and array.dtype != np.float16:
        largest = np.finfo(np.float16).max
        array = np.clip(array, -largest, largest)
    return array.astype(dtype, copy=False)


def clipped(array: NDArray[Any]) -> int:
    """How many numbers are the largest that half precision holds; 0 in other types."""
    if array.dtype != np.float16:
        return 0
    return int(np.count_nonzero(np.abs(array) == np.finfo(np.float16).max))


def read(place: Place) -> FloatArray:
    """The weight at a place, in a type that NumPy computes in."""
    found = constants.array(place.value)
    assert found is not None
    return computable(found)


def as_matrix(array: FloatArray, rows: Sequence[int], columns: int) -> FloatArray:
    """A weight as (rows, columns, taps); several axes of rows count as one.

    >>> as_matrix(np.zeros((2, 8, 5)), rows=(0, 1), columns=2).shape
    (16, 5, 1)
    """
    moved = array.transpose(_order(array.ndim, rows, columns))
    count = math.prod(moved.shape[: len(rows)])
    return moved.reshape(count, moved.shape[len(rows)], -1)


def from_matrix(
    matrix: FloatArray, rows: Sequence[int], columns: int, shape: tuple[int, ...]
) -> FloatArray:
    """The weight of this shape that :func:`as_matrix` gives ``matrix`` of."""
    order = _order(len(shape), rows, columns)
    array = matrix.reshape([shape[axis] for axis in order])
    return array.transpose([order.index(axis) for axis in range(len(shape))])


def _order(rank: int, rows: Sequence[int], columns: int) -> list[int]:
    """All axes: those of rows, that of columns, the others."""
    first = [*rows, columns]
    return first + [axis for axis in range(rank) if axis not in first]


def compact(places: IntArray, length: int) -> IntArray | slice:
    """The places of an axis, as a slice where they are all of it: NumPy then copies nothing."""
    return slice(None) if np.array_equal(places, np.arange(length)) else places


def cut(array: FloatArray, masks: Masks) -> FloatArray:
    """An array without what the mask of an axis leaves out."""
    for axis, keep in masks.items():
        array = np.compress(keep, array, axis=axis)
    return array
