"""Constants repeated before channels meet them: class tokens, positions, tables of biases."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.types import Dim
from nmcore_onnx.shapes import shape_values
from nmcore_onnx.trace.axes import squeezed_axes
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule_for
from nmcore_onnx.trace.target_sizes import follow_size

# Far above what any exporter writes between a token and where it is used.
_LONGEST = 10

# Operators that combine values element by element.
_COMBINING = ("Add", "Sub", "Mul", "Div", "Where")


def follow_constant(node: ir.Node, index: int, axis: int, trace: Trace) -> Channels | None:
    """The entries of a constant as channels, which an input of ``node`` holds on ``axis``.

    Between the constant and ``node`` stand nodes that repeat it along other axes, for each input of
    a batch, pick from these, move axes, or combine it with what is the same for all entries. What
    they give may be read by others that come behind ``node``, such as the further layers whose
    attention has the same bias. The constant is cut with whatever it is joined with then. A value
    that is filled with one number is followed in the same way. None where there is neither.
    """
    steps: list[ir.Node] = []
    place, reader = Place(node, index), node
    while constants.tensor(place.value) is None:
        before = place.value.producer() if place.value is not None else None
        if before is None or len(steps) > _LONGEST or not _is_unread(before, reader, trace):
            return None
        if before.op_type == "ConstantOfShape":
            return _filled(before, axis, steps[::-1], trace)
        found = _before(before, axis, trace)
        if found is None or found[1] < 0:
            return None
        (number, axis), reader = found, before
        place = Place(before, number)
        steps.append(before)
    shape, value = constants.shape(place.value), place.value
    plain = steps and constants.is_float(value) and value is constants.source(value)
    if not plain or shape is None or axis >= len(shape) or shape[axis] < 2:
        return None
    return _forward(place, axis, shape[axis], steps[::-1], trace)


def _is_unread(maker: ir.Node, reader: ir.Node, trace: Trace) -> bool:
    """Whether nothing but ``reader`` has read what a node gives: no rule took it for fixed."""
    value = maker.outputs[0]
    others = [use.node for use in value.uses() if use.node is not reader]
    return (
        maker.graph is reader.graph
        and not value.is_graph_output()
        and all(other.graph is reader.graph and other not in trace.visited for other in others)
    )


def _forward(
    place: Place, axis: int, length: int, steps: list[ir.Node], trace: Trace
) -> Channels | None:
    """Let the rules of the nodes behind a constant say where its entries go."""
    value, made = place.value, Channels(axis, trace.atoms.fresh(length))
    assert value is not None
    if len(value.uses()) > 1:
        return None
    trace.slice(place.node, place.index, axis, made)
    trace.channels[value] = made
    for step in steps:
        rule_for(step)(step, trace)
    # What a constant is, it is for its reader alone.
    del trace.channels[value]
    return trace.channels.get(steps[-1].outputs[0])


def _filled(node: ir.Node, axis: int, steps: list[ir.Node], trace: Trace) -> Channels | None:
    """The same of a value that is filled with one number: its size shrinks."""
    target = shape_values.entries(Place(node, 0), trace.shapes)
    length = None if target is None or axis >= len(target) else target[axis].number
    if target is None or length is None or length < 2:
        return None
    made = Channels(axis, trace.atoms.fresh(length))
    if not follow_size(node, trace, target, axis, made):
        return None
    trace.settle(node, 0, target)
    trace.carry(node, made)
    for step in steps:
        rule_for(step)(step, trace)
    return trace.channels.get((steps or [node])[-1].outputs[0])


def _before(node: ir.Node, axis: int, trace: Trace) -> tuple[int, int] | None:
    """Which input of a node, and which axis of it, has the entries of ``axis`` of what it gives.

    None for other operators, and where that is not known.
    """
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in _COMBINING:
        return _combined(node, axis, trace)
    found = _axis_before(node, axis, trace)
    return None if found is None else (0, found)


def _axis_before(node: ir.Node, axis: int, trace: Trace) -> int | None:
    """The axis of input 0 of a node that moves, repeats or picks from axes of that alone."""
    if node.op_type in ("Identity", "Cast", "Tile"):
        return axis
    if node.op_type == "Transpose" and "perm" in node.attributes:
        return list(node.attributes["perm"].as_ints())[axis]
    if node.op_type == "Unsqueeze":
        axes = squeezed_axes(node, trace)
        return None if axes is None or axis in axes else axis - sum(new < axis for new in axes)
    given, made = (_shape(value, trace) for value in (node.inputs[0], node.outputs[0]))
    if given is None or made is None:
        return None
    if node.op_type == "Expand":
        return axis - (len(made) - len(given))
    if node.op_type == "Gather":
        picked = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        first, added = picked % len(given), len(made) - len(given)
        if axis < first:
            return axis
        return axis - added if axis > first + added else None
    return None


def _combined(node: ir.Node, axis: int, trace: Trace) -> tuple[int, int] | None:
    """The one input that is not the same for all entries of ``axis``."""
    made = _shape(node.outputs[0], trace)
    found = []
    for index, value in enumerate(node.inputs):
        shape = _shape(value, trace)
        if shape is None or made is None:
            return None
        own = axis - (len(made) - len(shape))
        if own >= 0 and shape[own] != 1:
            found.append((index, own))
    return found[0] if len(found) == 1 else None


def _shape(value: ir.Value | None, trace: Trace) -> tuple[Dim, ...] | None:
    shape = trace.shape(value)
    return constants.shape(value) if shape is None else shape
