"""Where an axis is behind an operator that adds or drops others."""

from __future__ import annotations

import math

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.context import Trace


def squeezed_axes(node: ir.Node, trace: Trace) -> list[int] | None:
    """The axes that a Squeeze drops or an Unsqueeze adds, from 0 on and in order."""
    longer = trace.shape(node.inputs[0] if node.op_type == "Squeeze" else node.outputs[0])
    if "axes" in node.attributes:
        axes: list[int] | None = list(node.attributes["axes"].as_ints())
    else:
        axes = constants.ints(Place(node, 1).value)
    if axes is None or longer is None:
        return None
    return sorted(axis % len(longer) for axis in axes)


def reduced_axes(node: ir.Node) -> set[int] | None:
    """The axes of a reduction, an attribute or a constant input; empty means all, None unknown."""
    if "axes" in node.attributes:
        return set(node.attributes["axes"].as_ints())
    if Place(node, 1).value is None:
        return set()
    found = constants.ints(node.inputs[1])
    return None if found is None else set(found)


def axis_behind(node: ir.Node, axis: int, axes: list[int]) -> int | None:
    """Where an axis is behind a Squeeze or Unsqueeze of ``axes``; None where it is dropped."""
    if node.op_type == "Squeeze":
        return None if axis in axes else axis - sum(gone < axis for gone in axes)
    for new in axes:
        axis += new <= axis
    return axis


def is_combined(value: ir.Value, trace: Trace, axis: int) -> bool:
    """Whether a reader of a value reduces or normalises over an axis, Transposes between or not."""
    return any(_combines(use.node, trace, axis) for use in value.uses())


def _combines(node: ir.Node, trace: Trace, axis: int) -> bool:
    if node.op_type == "Transpose" and "perm" in node.attributes:
        order = list(node.attributes["perm"].as_ints())
        return axis in order and is_combined(node.outputs[0], trace, order.index(axis))
    shape = trace.shape(node.inputs[0])
    if shape is None:
        return False
    if node.op_type.startswith("Reduce"):
        axes = reduced_axes(node)
        return axes is not None and axis in {each % len(shape) for each in axes}
    if node.op_type in ("Softmax", "LogSoftmax"):
        since_13 = trace.graph.opset_imports.get("", 1) >= 13
        given = node.attributes["axis"].as_int() if "axis" in node.attributes else None
        over = (-1 if since_13 else 1) if given is None else given
        return axis == over % len(shape) if since_13 else axis >= over % len(shape)
    return False


def times(count: int | None, dims: list[int | str]) -> int | None:
    """A count times some lengths, where all are known."""
    if count is None or any(not isinstance(dim, int) for dim in dims):
        return None
    return count * math.prod(dim for dim in dims if isinstance(dim, int))
