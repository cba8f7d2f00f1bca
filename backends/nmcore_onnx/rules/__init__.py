"""One small rule per operator family; each says what becomes of the channels that reach it.

To support an operator, add it to the family it belongs to, or write a function that takes the node
and the :class:`~nmcore_onnx.trace.Trace` and decorate it with :func:`~.registry.rule`.
"""

from nmcore_onnx.rules import (
    attention,
    declined,
    elementwise,
    layout,
    normalization,
    parts,
    pooling,
    regrouping,
    weighted,
)
from nmcore_onnx.rules.registry import rule_for

__all__ = [
    "attention",
    "declined",
    "elementwise",
    "layout",
    "normalization",
    "parts",
    "pooling",
    "regrouping",
    "rule_for",
    "weighted",
]
