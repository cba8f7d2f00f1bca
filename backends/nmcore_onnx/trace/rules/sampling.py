"""Operators that take values from other positions of the same channel."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule


@rule("GridSample", "RoiAlign", "MaxRoiPool")
def sample(node: ir.Node, trace: Trace) -> None:
    """Samples pictures (batch, channels, *positions) where a grid, or regions, say.

    All channels are sampled at the same positions; those that say where stay.
    """
    channels = trace.at(node)
    for index in range(1, len(node.inputs)):
        places = trace.at(node, index)
        if places is not None:
            trace.decline(node, places, "which takes them as positions")
    if channels is None:
        return
    if channels.axis != 1:
        trace.decline(node, channels, "which samples along them")
    else:
        trace.carry(node, channels)
