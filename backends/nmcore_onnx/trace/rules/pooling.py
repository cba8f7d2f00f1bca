"""Operators that work on each channel's own positions."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule


@rule("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def pool(node: ir.Node, trace: Trace) -> None:
    """Windows over the axes behind the channels."""
    channels = trace.at(node)
    if channels is None:
        return
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        trace.decline(node, channels, "whose indices are used")
    elif channels.axis != 1:
        trace.decline(node, channels, "which pools over them")
    else:
        trace.carry(node, channels)


@rule("GridSample", "RoiAlign", "MaxRoiPool")
def sample(node: ir.Node, trace: Trace) -> None:
    """Takes values from places of each channel, which the other inputs say."""
    channels = trace.at(node)
    for index in range(1, len(node.inputs)):
        places = trace.at(node, index)
        if places is not None:
            trace.decline(node, places, "which takes them as places")
    if channels is None:
        return
    if channels.axis == 1:
        trace.carry(node, channels)
    else:
        trace.decline(node, channels, "which samples them")


@rule("CumSum", "Trilu")
def along(node: ir.Node, trace: Trace) -> None:
    """Sums along an axis, or blanks a triangle of the last two; channels on another axis pass."""
    channels, shape = trace.at(node), trace.shape(node.inputs[0])
    if channels is None:
        trace.decline_inputs(node, "which takes them as an axis")
        return
    if shape is None:
        trace.decline(node, channels, "where the rank is unknown")
        return
    if node.op_type == "Trilu":
        axes: list[int] | None = [-2, -1]
    else:
        axes = constants.ints(Place(node, 1).value)
    if axes is None:
        trace.decline(node, channels, "whose axis is not constant")
    elif channels.axis in [axis % len(shape) for axis in axes]:
        trace.decline(node, channels, "which runs over them")
    else:
        trace.carry(node, channels)


# What each reduction makes of channels that it runs over.
_REDUCTIONS = {
    "ReduceMean": "takes their mean",
    "ReduceMax": "takes their maximum",
    "ReduceMin": "takes their minimum",
    "ReduceSum": "sums over them",
    "ReduceL2": "takes their norm",
    "ReduceL1": "takes their norm",
    "ReduceSumSquare": "sums over them",
    "ReduceLogSum": "sums over them",
    "ReduceLogSumExp": "sums over them",
    "ReduceProd": "multiplies them",
}


@rule(*_REDUCTIONS)
def reduce(node: ir.Node, trace: Trace) -> None:
    """A reduction over other axes than the channels' own."""
    channels = trace.at(node)
    if channels is None:
        return
    shape = trace.shape(node.inputs[0])
    axes = _axes(node)
    if shape is None or axes is None:
        trace.decline(node, channels, "whose axes are not constant")
        return
    axes = {axis % len(shape) for axis in axes}
    keep = "keepdims" not in node.attributes or node.attributes["keepdims"].as_int() != 0
    if channels.axis in axes or not axes:
        trace.decline(node, channels, f"which {_REDUCTIONS[node.op_type]}")
        return
    before = 0 if keep else sum(axis < channels.axis for axis in axes)
    trace.carry(node, channels.at(channels.axis - before))


def _axes(node: ir.Node) -> set[int] | None:
    """The axes of a reduction, an attribute or an input; empty means all."""
    if "axes" in node.attributes:
        return set(node.attributes["axes"].as_ints())
    if len(node.inputs) < 2 or node.inputs[1] is None:
        return set()
    found = constants.ints(node.inputs[1])
    return None if found is None else set(found)
