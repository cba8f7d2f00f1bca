"""Operators that are known and stop channels, with a reason a user understands."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule

_QUANTISED = "quantised: compress the model before quantising it"

_REASONS = {
    "LRN": "which normalises across channels",
    "ArgMax": "which turns them into positions",
    "TopK": "which orders them",
    "Loop": "which runs a subgraph",
    "Scan": "which runs a subgraph",
    "QuantizeLinear": _QUANTISED,
    "DynamicQuantizeLinear": _QUANTISED,
}

# onnxruntime's operators with integer weights.
_QUANTISED_CONTRIB = (
    *("MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
    *("QAttention", "QGemm", "QLinearConv", "QMoE", "QEmbedLayerNormalization"),
    *("DynamicQuantizeLSTM", "GatherBlockQuantized"),
)

_DEFORMABLE = "a deformable convolution: not supported"


@rule(*_REASONS)
def known(node: ir.Node, trace: Trace) -> None:
    """Decline with the operator's own reason."""
    trace.decline_inputs(node, _REASONS[node.op_type])


@rule("DeformConv")
def deformable(node: ir.Node, trace: Trace) -> None:
    """Decline, and list the node itself: a user looks for its weights."""
    trace.decline_inputs(node, _DEFORMABLE)
    trace.leave(node, _DEFORMABLE)


@rule(*_QUANTISED_CONTRIB, domain="com.microsoft")
def quantised(node: ir.Node, trace: Trace) -> None:
    """Decline, and list the node itself."""
    trace.decline_inputs(node, _QUANTISED)
    trace.leave(node, _QUANTISED)
