"""Operators with integer weights: counted; their channels stay."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx.quantisation import marks
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.base import Known, Unsupported, convolution_macs, matrix_macs


class _Quantised(Unsupported):
    """Integers whose weight is not read back."""

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """Decline, and list the node itself, with what is in the way."""
        trace.decline_inputs(node, marks.reason(node))
        trace.leave(node, marks.reason(node))


class QuantisedConv(_Quantised):
    """ConvInteger, and QLinearConv with its weight at input 3: (O, C / groups, *taps)."""

    def __init__(self, op_type: str, weight: int) -> None:
        self.op_type = op_type
        self._weight = weight

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """As of a Conv."""
        return convolution_macs(inputs[self._weight], output)


class QuantisedMatMul(_Quantised):
    """MatMulInteger and QLinearMatMul."""

    def __init__(self, op_type: str) -> None:
        self.op_type = op_type

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """As of a MatMul."""
        return matrix_macs(inputs[0], output)
