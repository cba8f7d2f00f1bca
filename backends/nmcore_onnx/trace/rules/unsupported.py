"""Operators that are known and stop channels, with a reason a user understands."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.quantisation import marks
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule

_REASONS = {
    "LRN": "which normalises across channels",
    "ArgMax": "which turns them into positions",
    "TopK": "which orders them",
    "Loop": "which runs a subgraph",
    "Scan": "which runs a subgraph",
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


@rule("DynamicQuantizeLinear")
def quantising(node: ir.Node, trace: Trace) -> None:
    """Decline: what reads it is not understood."""
    trace.decline_inputs(node, marks.reason(node))


@rule("DeformConv")
def deformable(node: ir.Node, trace: Trace) -> None:
    """Decline, and list the node itself: a user looks for its weights."""
    trace.decline_inputs(node, _DEFORMABLE)
    trace.leave(node, _DEFORMABLE)


@rule(*_QUANTISED_CONTRIB, domain="com.microsoft")
def quantised(node: ir.Node, trace: Trace) -> None:
    """Decline, and list the node itself."""
    trace.decline_inputs(node, marks.reason(node))
    trace.leave(node, marks.reason(node))
