"""Statistics of the training inputs, from a graph's own preprocessing and its first layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nmcore.group import FloatArray
from nmcore.plugins import InputHint
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import attribute, flag
from nmcore_onnx.ir.types import Dim, Shapes
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.recurrent.layout import LENGTHS, is_recurrent

Float64Array = NDArray[np.float64]


@dataclass
class _Path:
    """The way from an input on, as long as it is alone: what is read there is ``a x + b``.

    `a` and `b` broadcast against one input, without the batch.
    """

    rank: int
    a: Float64Array
    b: Float64Array
    changed: bool = False
    measured: bool = False

    def hint(self, weight: FloatArray | None) -> InputHint | None:
        """What makes ``a x + b`` standard: an x of mean ``-b / a`` and deviation ``1 / |a|``."""
        if not self.changed and weight is None:
            return None
        return InputHint(
            mean=-self.b / self.a if self.changed else None,
            std=1 / np.abs(self.a) if self.changed else None,
            measured=self.measured,
            weight=weight,
        )


def input_hints(graph: ir.Graph, shapes: Shapes) -> dict[str, InputHint]:
    """Follow each float input through what its model does to it first.

    (1) Constants, one or one a channel, that are added, subtracted, multiplied or divided by;
    (2) a batch norm, whose statistics are those of the training set; the way ends there;
    (3) a flatten, or a reshape that does the same;
    (4) a fully connected layer that reads every number of the input; the way ends there.

    Anything else ends it with what was found before. Of an integer input it is told how many rows
    the smallest table has that it is looked up in, that it is a mask, or of what it counts steps.
    """
    found = {}
    for value in graph.inputs:
        if value.dtype in (ir.DataType.INT64, ir.DataType.INT32) and not value.is_initializer():
            whole = _counted_steps(value, graph, shapes) or _looked_up(value)
            if whole is not None:
                found[str(value.name)] = whole
            continue
        rank = len(shapes.get(value.name or "", ()))
        floats = value.dtype is not None and value.dtype.is_floating_point()
        if floats and rank > 1 and not value.is_initializer():
            hint = _follow(value, _Path(rank, np.ones(()), np.zeros(())), shapes)
            if hint is not None:
                found[str(value.name)] = hint
    return found


# What changes the layout of integers, or their type, and none of them.
_LAYOUT = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Expand")
# What asks of a mask whether a place counts.
_ASKING = ("Equal", "Greater", "Less", "Not", "And", "Sub", "Mul", "Where", "GreaterOrEqual")
# Which inputs of onnxruntime's embedding layer are places in which tables.
_EMBEDDING = {0: 2, 1: 4}


def _looked_up(value: ir.Value) -> InputHint | None:
    """What integers are for: places in tables, or a mask, where nothing else reads them."""
    rows: list[int] = []
    masks, others = 0, 0
    open_, seen = [value], {value}
    while open_:
        current = open_.pop()
        for node, index in current.uses():
            table = _table(node, index)
            if table is not None:
                rows.append(table)
            elif node.op_type in _LAYOUT and index == 0:
                new = node.outputs[0]
                open_ += [] if new in seen else [new]
                seen.add(new)
            elif node.op_type in _ASKING:
                masks += 1
            else:
                others += node.op_type != "Shape"
    if rows:
        return InputHint(ids=min(rows))
    return InputHint(mask=True) if masks and not others else None


def _counted_steps(value: ir.Value, graph: ir.Graph, shapes: Shapes) -> InputHint | None:
    """What integers are for that say how many steps of each sequence count."""
    open_, seen = [value], {value}
    while open_:
        for node, index in open_.pop().uses():
            axis = _axis_of_steps(node, index)
            if axis is not None:
                shape = shapes.get(getattr(node.inputs[0], "name", "") or "", ())
                return _steps(shape[axis], graph, shapes) if len(shape) > axis else None
            new = node.outputs[0] if node.op_type in _LAYOUT and index == 0 else None
            if new is not None and new not in seen:
                seen.add(new)
                open_.append(new)
    return None


def _axis_of_steps(node: ir.Node, index: int) -> int | None:
    """The axis of the first input of a node of which an input says how many entries count."""
    if is_recurrent(node) and index == LENGTHS:
        return int(flag(node, "layout"))
    if node.op_type == "ReverseSequence" and index == 1:
        return node.attributes["time_axis"].as_int() if "time_axis" in node.attributes else 0
    return None


def _steps(length: Dim, graph: ir.Graph, shapes: Shapes) -> InputHint:
    """As many steps as there are; one, which is never too many, where no input has that axis."""
    if isinstance(length, int):
        return InputHint(steps=length)
    for value in graph.inputs:
        shape = shapes.get(value.name or "", ())
        if value.const_value is None and length in shape:
            return InputHint(steps_of=(str(value.name), shape.index(length)))
    return InputHint(steps=1)


def _table(node: ir.Node, index: int) -> int | None:
    """How long the axis of a constant is that integers at an input of a node are places on."""
    if node.op_type in ("Gather", "GatherElements") and index == 1:
        shape = constants.shape(node.inputs[0])
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    elif node.op_type == "EmbedLayerNormalization" and index in _EMBEDDING:
        shape, axis = constants.shape(Place(node, _EMBEDDING[index]).value), 0
    else:
        return None
    return shape[axis] if shape and -len(shape) <= axis < len(shape) and shape[axis] > 0 else None


def _follow(start: ir.Value, path: _Path, shapes: Shapes) -> InputHint | None:
    value, flat = start, False
    while True:
        node = _reader(value)
        if node is None:
            return path.hint(None)
        if (operator := operators.find(node)) is not None and operator.is_dense:
            return path.hint(_rows(node, value, shapes[start.name or ""][1:]))
        if node.op_type in ("Flatten", "Reshape") and _flattens(node, start, shapes):
            flat = True
        elif flat or not (_norm(node, value, path) or _arithmetic(node, value, path)):
            return path.hint(None)
        if path.measured:
            return path.hint(None)
        value = node.outputs[0]


def _reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value; those that only ask for its shape do not count."""
    readers = [node for node, _ in value.uses() if node.op_type != "Shape"]
    if len(readers) != 1 or value.is_graph_output():
        return None
    return readers[0]


def _norm(node: ir.Node, value: ir.Value, path: _Path) -> bool:
    """Case 2: the running statistics, carried back through the constants before them."""
    if node.op_type != "BatchNormalization" or node.inputs[0] is not value:
        return False
    mean, var = (constants.array(place) for place in node.inputs[3:5])
    if mean is None or var is None:
        return False
    shape = (-1, *[1] * (path.rank - 2))
    deviation = np.sqrt(var.astype(np.float64) + attribute(node, "epsilon", 1e-5)).reshape(shape)
    path.a = path.a / deviation
    path.b = (path.b - mean.astype(np.float64).reshape(shape)) / deviation
    path.changed = path.measured = True
    return True


def _arithmetic(node: ir.Node, value: ir.Value, path: _Path) -> bool:
    """Case 1, and nodes that change nothing."""
    if node.op_type in ("Identity", "Cast"):
        return True
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return False
    first = node.inputs[0] is value
    if node.op_type == "Div" and not first:
        return False
    number = _constant(Place(node, 1 if first else 0), path.rank)
    if number is None:
        return False
    if node.op_type in ("Mul", "Div"):
        if not np.all(number):
            return False
        factor = number if node.op_type == "Mul" else 1 / number
        path.a, path.b = path.a * factor, path.b * factor
    else:
        sign = -1 if node.op_type == "Sub" and not first else 1
        offset = -number if node.op_type == "Sub" and first else number
        path.a, path.b = sign * path.a, sign * path.b + offset
    path.changed = True
    return True


def _constant(place: Place, rank: int) -> Float64Array | None:
    """A float constant, one number or one a channel, that broadcasts against one input."""
    if not constants.is_float(place.value):
        return None
    array: NDArray[Any] | None = constants.array(place.value)
    assert array is not None
    while array.ndim >= rank and array.shape[0] == 1:
        array = array[0]
    if array.ndim >= rank or sum(size > 1 for size in array.shape) > 1:
        return None
    values = array.astype(np.float64)
    return values if np.isfinite(values).all() else None


def _flattens(node: ir.Node, start: ir.Value, shapes: Shapes) -> bool:
    """Case 3: one row of all numbers for each input, in their order."""
    size, after = shapes[start.name or ""][1:], shapes.get(node.outputs[0].name or "", ())
    known = [length for length in size if isinstance(length, int)]
    return len(known) == len(size) and after[1:] == (math.prod(known),)


def _rows(node: ir.Node, value: ir.Value, size: tuple[Any, ...]) -> FloatArray | None:
    """Case 4: the layer's weight (N, F), where F is as many numbers as one input has."""
    operator = operators.weighted(node)
    weight = node.inputs[operator.weight_input]
    if node.inputs[operator.data_input] is not value or not constants.is_float(weight):
        return None
    rows = operator.dense_rows(node)
    if rows is None:
        return None
    whole = all(isinstance(length, int) for length in size) and rows.shape[1] == math.prod(size)
    return rows.astype(np.float64) if whole else None
