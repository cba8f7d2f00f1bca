"""Attention as one operator: two products of computed values, without a weight of its own."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx.trace.operators.base import Known, Operator, elements


class Attention(Operator):
    """Scaled dot-product attention; :mod:`nmcore_onnx.trace.rules.fused_attention` follows its
    heads.
    """

    op_type = "Attention"
    has_weight = False

    def is_product(self, node: ir.Node) -> bool:
        """Always."""
        return True

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """Each query meets each key, and each output element sums over the values of all keys."""
        query, key = inputs[:2]
        if key is None:
            raise TypeError("keys whose shape is not known")
        return (elements(query) + elements(output)) * elements((key[-2],))


class FusedAttention(Attention):
    """The same of onnxruntime, with heads inside of the last axis."""

    domain = "com.microsoft"

    def __init__(self, op_type: str) -> None:
        self.op_type = op_type

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """As of ONNX's own; keys in one with queries are as many as these, and as long."""
        query, key = inputs[0], inputs[1] if len(inputs) > 1 else None
        if key is not None:
            return super().macs(node, inputs, output)
        if query is None:
            raise TypeError("queries whose shape is not known")
        return 2 * elements(output) * elements((query[1],))
