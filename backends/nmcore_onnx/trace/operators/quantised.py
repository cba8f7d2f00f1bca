"""Operators with integer weights: counted; their channels stay."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx.trace.operators.base import Known, Unsupported, convolution_macs, matrix_macs


class QuantisedConv(Unsupported):
    """ConvInteger, and QLinearConv with its weight at input 3: (O, C / groups, *taps)."""

    reason = "quantised: compress the model before quantising it"

    def __init__(self, op_type: str, weight: int) -> None:
        self.op_type = op_type
        self._weight = weight

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """As of a Conv."""
        return convolution_macs(inputs[self._weight], output)


class QuantisedMatMul(Unsupported):
    """MatMulInteger and QLinearMatMul."""

    reason = QuantisedConv.reason

    def __init__(self, op_type: str) -> None:
        self.op_type = op_type

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """As of a MatMul."""
        return matrix_macs(inputs[0], output)
