"""Operators that work on each channel's own positions."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.trace.axes import reduced_axes
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


# What each reduction makes of channels that it runs over.
_REDUCTIONS = {
    "ReduceMean": "takes their mean",
    "ReduceMax": "takes their maximum",
    "ReduceMin": "takes their minimum",
    "ReduceSum": "sums over them",
    "ReduceL2": "takes their norm",
    "ReduceL1": "takes their norm",
    "ReduceSumSquare": "sums their squares",
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
    axes = reduced_axes(node)
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
