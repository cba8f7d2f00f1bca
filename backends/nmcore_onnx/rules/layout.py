"""Operators that move or regroup axes."""

from __future__ import annotations

import math
from dataclasses import replace

import onnx_ir as ir

from nmcore_onnx import constants, sizes
from nmcore_onnx.channels import Channels
from nmcore_onnx.constants import Place
from nmcore_onnx.reshaping import Segment, match
from nmcore_onnx.rules.registry import decline_inputs, rule
from nmcore_onnx.shapes import Dim
from nmcore_onnx.trace import Trace


@rule("Transpose")
def transpose(node: ir.Node, trace: Trace) -> None:
    """The channel axis moves with the permutation."""
    channels = trace.at(node)
    if channels is None:
        return
    shape = trace.shape(node.inputs[0])
    if "perm" in node.attributes:
        order = list(node.attributes["perm"].as_ints())
    elif shape is not None:
        order = list(range(len(shape)))[::-1]
    else:
        trace.decline(node, channels, "where the rank is unknown")
        return
    trace.carry(node, channels.at(order.index(channels.axis)))


@rule("Squeeze", "Unsqueeze")
def squeeze(node: ir.Node, trace: Trace) -> None:
    """Axes of length one come and go."""
    channels = trace.at(node)
    if channels is None:
        return
    before, after = trace.shape(node.inputs[0]), trace.shape(node.outputs[0])
    if "axes" in node.attributes:
        axes: list[int] | None = list(node.attributes["axes"].as_ints())
    else:
        axes = constants.ints(Place(node, 1).value)
    if axes is None or before is None or after is None:
        trace.decline(node, channels, "whose axes are not constant")
        return
    if node.op_type == "Squeeze":
        gone = {axis % len(before) for axis in axes}
        if channels.axis in gone:
            trace.decline(node, channels, "which drops their axis")
            return
        trace.carry(node, channels.at(channels.axis - sum(a < channels.axis for a in gone)))
    else:
        new = {axis % len(after) for axis in axes}
        free = [axis for axis in range(len(after)) if axis not in new]
        trace.carry(node, channels.at(free[channels.axis]))


@rule("Shape")
def shape_of(node: ir.Node, trace: Trace) -> None:
    """Sizes of other axes may be used freely; the number of channels only to reshape."""
    channels = trace.at(node)
    if channels is None:
        return
    shape = trace.shape(node.inputs[0])
    if shape is None or node.attributes:
        trace.decline(node, channels, "whose result is not followed")
        return

    def carries_them(reshape: ir.Node) -> bool:
        """Reshapes come later in the order, but what they read has been traced by then."""
        return _origin(reshape.inputs[0]) is _origin(node.inputs[0])

    reader = sizes.leak(node.outputs[0], channels.axis, len(shape), carries_them)
    if reader is not None or node.outputs[0].is_graph_output():
        trace.decline(node, channels, "which counts them for another purpose than a Reshape")


def _origin(value: ir.Value | None) -> ir.Value | None:
    """Follow a value back through operators that keep its shape."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type not in ("Identity", "Relu", "LeakyRelu", "Dropout", "Cast", "Clip"):
            break
        value = node.inputs[0]
    return value


@rule("Size")
def size_of(node: ir.Node, trace: Trace) -> None:
    """The number of elements would change."""
    decline_inputs(node, trace, "which counts them")


@rule("Flatten")
def flatten(node: ir.Node, trace: Trace) -> None:
    """All axes from ``axis`` on become one; a channel then owns neighbouring positions."""
    channels = trace.at(node)
    if channels is None:
        return
    shape = trace.shape(node.inputs[0])
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    if shape is None:
        trace.decline(node, channels, "where the rank is unknown")
        return
    axis = axis + len(shape) if axis < 0 else axis
    if channels.axis < axis:
        trace.decline(node, channels, "which joins them with the batch")
        return
    segment = Segment(tuple(range(axis, len(shape))), (1,))
    trace.carry(node, _merge(channels, segment, shape))


@rule("Reshape")
def reshape(node: ir.Node, trace: Trace) -> None:
    """Channels go on where their axis stays whole or is flattened with others."""
    channels = trace.at(node)
    if channels is None:
        decline_inputs(node, trace, "which takes them as a shape")
        return
    shape = trace.shape(node.inputs[0])
    target = _target(node, trace)
    if shape is None or target is None:
        trace.decline(node, channels, "whose target shape is computed in a way not understood")
        return
    segment = match(
        shape,
        [_size(entry, index, shape, trace) for index, entry in enumerate(target)],
        channels.axis,
    )
    if segment is None or len(segment.outs) != 1:
        trace.decline(node, channels, "which splits or mixes them: not supported yet")
        return
    (out,) = segment.outs
    merged = _merge(channels, segment, shape)
    entry = target[out]
    if not _others_ignore(target, out, channels, trace) or (
        entry.number == 0 and out != channels.axis
    ):
        trace.decline(node, channels, "whose target copies their number to another axis")
        return
    if entry.number is not None and entry.number > 0:
        atoms = merged.expand(entry.number)
        if atoms is None or entry.place is None or not sizes.private(entry.place, node):
            trace.decline(node, channels, "whose target shape does not fit them")
            return
        trace.resize(entry, atoms)
    elif entry.dim is not None and not _follows(entry, channels, trace):
        trace.decline(node, channels, "whose target shape is taken from another value")
        return
    trace.carry(node, merged)


def _others_ignore(target: list[sizes.Entry], out: int, channels: Channels, trace: Trace) -> bool:
    """Whether no entry but ``out`` is the length of a channel axis."""
    for index, entry in enumerate(target):
        if index == out:
            continue
        if entry.number == 0 and index == channels.axis:
            return False
        if entry.dim is not None:
            found = trace.channels.get(entry.dim[0])
            if found is not None and found.axis == entry.dim[1]:
                return False
    return True


def _target(node: ir.Node, trace: Trace) -> list[sizes.Entry] | None:
    if "shape" in node.attributes:  # opset 1 to 4
        return None
    return sizes.entries(Place(node, 1), trace.shapes)


def _size(entry: sizes.Entry, index: int, shape: tuple[Dim, ...], trace: Trace) -> Dim:
    """An entry of the target as a size; -1 where it is whatever is left."""
    if entry.number == 0 and index < len(shape):
        return shape[index]
    if entry.number is not None:
        return entry.number
    if entry.dim is not None:
        value, axis = entry.dim
        found = trace.shape(value)
        return found[axis] if found is not None else -1
    return -1


def _follows(entry: sizes.Entry, channels: Channels, trace: Trace) -> bool:
    """Whether a size read from a value shrinks together with the channels."""
    assert entry.dim is not None
    value, axis = entry.dim
    other = trace.channels.get(value)
    return other is not None and other.axis == axis and other.same_as(channels)


def _merge(channels: Channels, segment: Segment, shape: tuple[Dim, ...]) -> Channels:
    """The channels after the axes of ``segment`` became one."""
    (out,) = segment.outs
    before = [shape[axis] for axis in segment.ins if axis < channels.axis]
    behind = [shape[axis] for axis in segment.ins if axis > channels.axis]
    return replace(
        channels,
        axis=out,
        outer=_times(channels.outer, before),
        inner=_times(channels.inner, behind),
    )


def _times(count: int | None, dims: list[Dim]) -> int | None:
    if count is None or any(not isinstance(dim, int) for dim in dims):
        return None
    return count * math.prod(dim for dim in dims if isinstance(dim, int))
