"""One small rule per operator family; each says what becomes of the channels that reach it.

To support an operator, add it to the family it belongs to, or write a function that takes the node
and the :class:`~nmcore_onnx.trace.context.Trace` and decorate it with
:func:`~nmcore_onnx.trace.rule_registry.rule`. The modules are independent of each other: what
several need stands in :mod:`nmcore_onnx.trace.axes`, :mod:`nmcore_onnx.trace.heads` and
:mod:`nmcore_onnx.trace.target_sizes`.
"""

from nmcore_onnx.trace.rule_registry import rule_for
from nmcore_onnx.trace.rules import (
    branches,
    concat_split,
    elementwise,
    fused_attention,
    fused_norms,
    layout,
    linear,
    normalization,
    pooling,
    quantised,
    reshape,
    rotary,
    sampling,
    scans,
    unsupported,
)

__all__ = [
    "branches",
    "concat_split",
    "elementwise",
    "fused_attention",
    "fused_norms",
    "layout",
    "linear",
    "normalization",
    "pooling",
    "quantised",
    "reshape",
    "rotary",
    "rule_for",
    "sampling",
    "scans",
    "unsupported",
]
