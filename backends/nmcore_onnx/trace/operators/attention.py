"""Attention as one operator: two products of computed values, without a weight of its own."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx.ir.constants import Place
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
        count = elements((key[-2],)) + past_length(node, inputs, 4)
        return (elements(query) + elements(output)) * count


class FusedAttention(Attention):
    """The same of onnxruntime, with heads inside of the last axis."""

    domain = "com.microsoft"

    def __init__(self, op_type: str, past: int) -> None:
        self.op_type = op_type
        self._past = past

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """As of ONNX's own; keys in one with queries are as many as these, and as long.

        Keys are (batch, length, D), with values in one (batch, length, heads, 2, size), or turned
        for the heads, (batch, heads, length, size).
        """
        packed = Place(node, 1).value is None
        query, key = inputs[0], inputs[0] if packed else inputs[1]
        if query is None or key is None:
            raise TypeError("queries or keys whose shapes are not known")
        length = key[2] if len(key) == 4 else key[1]
        count = elements((length,)) + past_length(node, inputs, self._past)
        scores = output if packed else query
        return (elements(scores) + elements(output)) * count


def past_length(node: ir.Node, inputs: Sequence[Known], index: int) -> int:
    """How many keys of the past, (batch, heads, length, size), an input brings; 0 without one.

    Raises
    ------
    TypeError
        It is not known.
    """
    if Place(node, index).value is None:
        return 0
    past = inputs[index]
    if past is None:
        raise TypeError("keys of the past whose shape is not known")
    return elements((past[-2],))
