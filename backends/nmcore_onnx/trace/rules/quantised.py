"""QuantizeLinear and DequantizeLinear of activations: every element alone."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir.constant_folding import folded_shape
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule


@rule("QuantizeLinear", "DequantizeLinear")
@rule("QuantizeLinear", "DequantizeLinear", domain="com.microsoft")
def pass_through(node: ir.Node, trace: Trace) -> None:
    """Channels pass; scales and zero points that are of each channel are sliced with them."""
    channels = trace.at(node)
    if channels is None:
        trace.decline_inputs(node, "which is quantised by them")
        return
    shape = trace.shape(node.inputs[0])
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    for index in (1, 2):
        parameter = Place(node, index).value
        sizes = () if parameter is None else folded_shape(parameter)
        if sizes is None:
            trace.decline(node, channels, "whose scale is computed while the model runs")
        elif sizes not in ((), (1,)):
            block = "block_size" in node.attributes and node.attributes["block_size"].as_int()
            if block or len(sizes) != 1 or shape is None:
                trace.decline(node, channels, "which quantises blocks")
            elif axis % len(shape) == channels.axis:
                trace.slice(node, index, 0, channels)
    trace.carry(node, channels)
