"""Operators that are known and stop channels, with a reason a user understands."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule

_QUANTISED = "quantised: compress the model before quantising it"

_REASONS = {
    "LRN": "which normalises across channels",
    "ArgMax": "which turns them into positions",
    "TopK": "which orders them",
    "Einsum": "which is not supported yet",
    "Loop": "which runs a subgraph",
    "If": "which runs a subgraph",
    "Scan": "which runs a subgraph",
    "QuantizeLinear": _QUANTISED,
    "DynamicQuantizeLinear": _QUANTISED,
}

_WEIGHTED = {
    "DeformConv": "a deformable convolution: not supported",
    "LSTM": "a recurrent layer: its state feeds back into every channel",
    "GRU": "a recurrent layer: its state feeds back into every channel",
    "RNN": "a recurrent layer: its state feeds back into every channel",
    "ConvInteger": _QUANTISED,
    "MatMulInteger": _QUANTISED,
    "QLinearConv": _QUANTISED,
    "QLinearMatMul": _QUANTISED,
}


@rule(*_REASONS)
def known(node: ir.Node, trace: Trace) -> None:
    """Decline with the operator's own reason."""
    trace.decline_inputs(node, _REASONS[node.op_type])
    if node.op_type == "Einsum" and any(map(constants.is_float, node.inputs)):
        trace.leave(node, _REASONS[node.op_type])


@rule(*_WEIGHTED)
def weighted(node: ir.Node, trace: Trace) -> None:
    """Decline, and list the node itself: a user looks for its weights."""
    trace.decline_inputs(node, _WEIGHTED[node.op_type])
    trace.leave(node, _WEIGHTED[node.op_type])
