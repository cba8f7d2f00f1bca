"""onnxruntime's norms of a residual stream, with the sum before them as one operator."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule


@rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain="com.microsoft")
def skip_norm(node: ir.Node, trace: Trace) -> None:
    """Adds two values (batch, length, size) and normalises the sum over the last axis: it stays."""
    trace.decline_inputs(node, "which adds them to a residual stream and normalises across it")


@rule("EmbedLayerNormalization", domain="com.microsoft")
def embed_norm(node: ir.Node, trace: Trace) -> None:
    """Looks words, positions and segments up and normalises their sum: no channels come in."""
    trace.decline_inputs(node, "as tables or ids")
