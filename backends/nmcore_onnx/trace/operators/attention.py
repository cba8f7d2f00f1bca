"""Attention as one operator: two products of computed values, without a weight of its own."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx.trace.operators.base import Known, Operator, elements


class Attention(Operator):
    """Scaled dot-product attention; :mod:`nmcore_onnx.trace.rules.attention` follows its heads."""

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
