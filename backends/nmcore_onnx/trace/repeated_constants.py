"""Constants that are repeated before channels meet them: class tokens, embeddings of positions."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import only_reader
from nmcore_onnx.trace.axes import squeezed_axes
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule_for

# Far above what any exporter writes between a token and where it is used.
_LONGEST = 10


def follow_constant(node: ir.Node, index: int, axis: int, trace: Trace) -> Channels | None:
    """The entries of a constant as channels, which an input of ``node`` holds on ``axis``.

    Between the constant and ``node`` stand nodes that repeat it along other axes, for each input of
    a batch, or move axes; nothing else may read what they give. The constant is cut with whatever
    it is joined with then. None where there is no such constant.
    """
    steps: list[ir.Node] = []
    place, reader = Place(node, index), node
    while constants.tensor(place.value) is None:
        before = place.value.producer() if place.value is not None else None
        if before is None or len(steps) > _LONGEST or only_reader(before.outputs[0]) is not reader:
            return None
        found = _axis_before(before, axis, trace)
        if found is None or found < 0:
            return None
        axis, place, reader = found, Place(before, 0), before
        steps.append(before)
    shape, value = constants.shape(place.value), place.value
    plain = steps and constants.is_float(value) and value is constants.source(value)
    if not plain or shape is None or axis >= len(shape) or shape[axis] < 2:
        return None
    return _forward(place, axis, shape[axis], steps[::-1], trace)


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


def _axis_before(node: ir.Node, axis: int, trace: Trace) -> int | None:
    """Which axis of what a node reads is ``axis`` of what it gives; None for other operators."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in ("Identity", "Cast", "Tile"):
        return axis
    if node.op_type == "Transpose" and "perm" in node.attributes:
        return list(node.attributes["perm"].as_ints())[axis]
    if node.op_type == "Unsqueeze":
        axes = squeezed_axes(node, trace)
        return None if axes is None or axis in axes else axis - sum(new < axis for new in axes)
    if node.op_type == "Expand":
        given, made = (trace.shape(value) for value in (node.inputs[0], node.outputs[0]))
        given = constants.shape(node.inputs[0]) if given is None else given
        return None if given is None or made is None else axis - (len(made) - len(given))
    return None
