"""Batch normalisation: one scale and one offset a channel."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx import constants
from nmcore_onnx.rules.registry import rule
from nmcore_onnx.trace import Trace


@rule("BatchNormalization")
def batch_norm(node: ir.Node, trace: Trace) -> None:
    """Its four parameters are sliced with the channels; Z passes."""
    channels = trace.at(node)
    if channels is None:
        return
    training = "training_mode" in node.attributes and node.attributes["training_mode"].as_int()
    if training or any(value.uses() for value in node.outputs[1:]):
        trace.decline(node, channels, "which is in training mode")
        return
    if channels.axis != 1:
        trace.decline(node, channels, "which normalises another axis")
        return
    if not all(constants.is_float(value) for value in node.inputs[1:5]):
        trace.decline(node, channels, "whose parameters are not constant")
        return
    for index in range(1, 5):
        trace.slice(node, index, 0, channels)
    trace.carry(node, channels)
