"""What a value is taken from by operators that move entries, such as an input of the model."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir.types import Dim
from nmcore_onnx.shapes.reshape_axes import match
from nmcore_onnx.trace.axes import axis_behind, squeezed_axes
from nmcore_onnx.trace.context import Trace

# Far above what any exporter writes between an input and who computes with it.
_LONGEST = 12
_KEEPING = ("Identity", "Cast", "Slice", "Split")


def origin(value: ir.Value, axis: int | None, trace: Trace) -> tuple[ir.Value, int | None]:
    """What a value is taken from by operators that move entries, and where ``axis`` is there."""
    for _ in range(_LONGEST):
        node = value.producer()
        if node is None or not node.inputs or node.inputs[0] is None:
            break
        before, known = node.inputs[0], _before(node, axis, trace)
        if known is False:
            break
        value, axis = before, known
    return value, axis


def _before(node: ir.Node, axis: int | None, trace: Trace) -> int | bool | None:
    """The axis of input 0 that becomes ``axis``; None where that is not known, False where a node
    does more than to move entries.
    """
    given, made = trace.shape(node.inputs[0]), trace.shape(node.outputs[0])
    if node.domain not in ("", "ai.onnx"):
        return False
    alone = node.op_type == "Concat" and len(node.inputs) == 1
    if node.op_type in _KEEPING or alone:
        return axis
    if node.op_type not in ("Transpose", "Squeeze", "Unsqueeze", "Gather", "Reshape"):
        return False
    if axis is None or given is None or made is None:
        return None
    for place in range(len(given)):
        if _behind(node, place, given, made, trace) == axis:
            return place
    return None


def _behind(
    node: ir.Node, axis: int, given: tuple[Dim, ...], made: tuple[Dim, ...], trace: Trace
) -> int | None:
    """Where an axis of input 0 is behind a node."""
    if node.op_type == "Transpose":
        order = node.attributes["perm"].as_ints() if "perm" in node.attributes else ()
        return [*(order or reversed(range(len(given))))].index(axis)
    if node.op_type in ("Squeeze", "Unsqueeze"):
        axes = squeezed_axes(node, trace)
        return None if axes is None else axis_behind(node, axis, axes)
    if node.op_type == "Gather":
        picked = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        picked %= len(given)
        return None if axis == picked else axis + (len(made) - len(given)) * (axis > picked)
    segment = match(given, made, axis)
    whole = segment is not None and segment.ins == (axis,) and len(segment.outs) == 1
    return segment.outs[0] if segment is not None and whole else None
