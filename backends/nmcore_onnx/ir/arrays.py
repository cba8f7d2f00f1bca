"""Weights as NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
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


def read(place: Place) -> FloatArray:
    """The weight at a place, in a type that NumPy computes in."""
    found = constants.array(place.value)
    assert found is not None
    return computable(found)


def as_matrix(array: FloatArray, rows: int, columns: int) -> FloatArray:
    """A weight as (rows, columns * taps): rows first, then each column with its taps."""
    moved = np.moveaxis(array, (rows, columns), (0, 1))
    return moved.reshape(moved.shape[0], moved.shape[1], -1)


def compact(places: IntArray, length: int) -> IntArray | slice:
    """The places of an axis, as a slice where they are all of it: NumPy then copies nothing."""
    return slice(None) if np.array_equal(places, np.arange(length)) else places


def cut(array: FloatArray, masks: Masks) -> FloatArray:
    """An array without what the mask of an axis leaves out."""
    for axis, keep in masks.items():
        array = np.compress(keep, array, axis=axis)
    return array
