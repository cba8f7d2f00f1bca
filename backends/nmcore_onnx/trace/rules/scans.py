"""Operators that run along axes: each element depends on those before it, or on where it stands."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir.constant_folding import fold
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule


@rule("CumSum", "CumProd")
def cumulate(node: ir.Node, trace: Trace) -> None:
    """Sums or products along one constant axis; channels on another pass."""
    channels, shape = trace.at(node), trace.shape(node.inputs[0])
    found = trace.at(node, 1)
    if found is not None:
        trace.decline(node, found, "which takes its axis from them")
    if channels is None:
        return
    axis = fold(Place(node, 1).value)
    if shape is None or axis is None or axis.size != 1:
        trace.decline(node, channels, "whose axis is not constant")
    elif int(axis.ravel()[0]) % len(shape) == channels.axis:
        trace.decline(node, channels, "which adds them up one after the other")
    else:
        trace.carry(node, channels)


@rule("ReverseSequence")
def reverse(node: ir.Node, trace: Trace) -> None:
    """Turns time round for each input; both are axes of their own."""
    channels = trace.at(node)
    if channels is None:
        trace.decline_inputs(node, "which takes them as lengths")
        return
    attributes = node.attributes
    time = attributes["time_axis"].as_int() if "time_axis" in attributes else 0
    batch = attributes["batch_axis"].as_int() if "batch_axis" in attributes else 1
    if channels.axis in (time, batch):
        trace.decline(node, channels, "which changes their order")
    else:
        trace.carry(node, channels)


@rule("Trilu")
def triangle(node: ir.Node, trace: Trace) -> None:
    """Keeps a triangle of the last two axes; channels before them pass."""
    channels, shape = trace.at(node), trace.shape(node.inputs[0])
    if channels is None:
        trace.decline_inputs(node, "which takes them as a diagonal")
    elif shape is None or channels.axis >= len(shape) - 2:
        trace.decline(node, channels, "which cuts a triangle out of them")
    else:
        trace.carry(node, channels)
