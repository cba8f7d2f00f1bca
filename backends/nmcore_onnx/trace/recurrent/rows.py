"""The weights of recurrent layers as rows, one a unit and gate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray
from nmcore_onnx.ir.arrays import read
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.recurrent.initial_states import initial_constant
from nmcore_onnx.trace.recurrent.layout import (
    BIAS,
    INPUT,
    NEW,
    PEEPHOLES,
    RECURRENCE,
    resets_before,
)


def rows(node: ir.Node, initial: Sequence[int]) -> FloatArray:
    """All that makes the units, as (gates * H, numbers): W, R, biases, peepholes, states.

    What belongs to a unit as a whole stands in the rows of its first gates. ``initial`` are the
    inputs that hold initial states.
    """
    weights = [read(Place(node, index)) for index in (INPUT, RECURRENCE)]
    count, units = weights[0].shape[1], weights[1].shape[2]
    parts = [np.moveaxis(weight, 1, 0).reshape(count, -1) for weight in weights]
    parts += _bias_columns(node, count)
    if Place(node, PEEPHOLES).value is not None:
        parts.append(_in_first_rows(read(Place(node, PEEPHOLES)).T, count))
    for index in initial:
        found = initial_constant(Place(node, index).value, units)
        if found is not None:
            parts.append(_in_first_rows(found, count))
    return np.concatenate(parts, axis=1)


def _bias_columns(node: ir.Node, count: int) -> list[FloatArray]:
    """The two biases, added up where the operator adds them; each (gates * H, directions)."""
    if Place(node, BIAS).value is None:
        return []
    first, second = read(Place(node, BIAS)).reshape(-1, 2, count).transpose(1, 2, 0)
    if node.op_type != "GRU" or resets_before(node):
        return [first + second]
    # What comes to the new state from R is multiplied by the reset gate, its bias included.
    apart = np.arange(count)[:, None] >= NEW * count // 3
    zero = second.dtype.type(0)
    return [first + np.where(apart, zero, second), np.where(apart, second, zero)]


def _in_first_rows(numbers: FloatArray, count: int) -> FloatArray:
    """Numbers (n, m) as the first rows of (count, m), with zeros below."""
    result = np.zeros((count, numbers.shape[1]), numbers.dtype)
    result[: len(numbers)] = numbers
    return result
