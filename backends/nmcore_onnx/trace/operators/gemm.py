"""Gemm: alpha A' B' + beta C with the weight B (F, N), or (N, F) where transB is set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import attribute, flag
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.base import Known, matrix_macs
from nmcore_onnx.trace.operators.dense import Dense


class Gemm(Dense):
    """A fully connected layer on data (batch, F), or (F, batch) where transA is set."""

    op_type = "Gemm"
    rank = 2
    output_axis = 1

    def axes(self, node: ir.Node) -> tuple[int, int]:
        """Rows on the last axis, or on the first where transB is set."""
        return (0, 1) if flag(node, "transB") else (1, 0)

    def input_axis(self, node: ir.Node) -> int:
        """Features are axis 1, or 0 where transA is set."""
        return 0 if flag(node, "transA") else 1

    def factor(self, node: ir.Node) -> float:
        """Its alpha."""
        return attribute(node, "alpha")

    def bias_factor(self, node: ir.Node) -> float:
        """Its beta."""
        return attribute(node, "beta")

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """Nothing is followed where the bias differs between inputs, or a factor is 0."""
        if not self.is_constant(node, trace):
            return
        bias = constants.shape(Place(node, self.bias_input).value) or ()
        if 0 in (self.factor(node), self.bias_factor(node)) or math.prod(bias[:-1]) > 1:
            trace.decline_inputs(node, "whose bias differs between inputs or is switched off")
            trace.leave(node, "its bias differs between inputs, or it is switched off")
            return
        super().follow(node, trace)

    def slice_bias(self, node: ir.Node, trace: Trace, made: Channels) -> None:
        """The bias may be one number for all outputs."""
        bias = constants.shape(Place(node, self.bias_input).value) or ()
        if bias and bias[-1] == len(made.atoms):
            trace.slice(node, self.bias_input, len(bias) - 1, made)

    def unfold(
        self, build: Builder, node: ir.Node, index: int, value: ir.Value, length: int, step: int = 1
    ) -> ir.Value:
        """Each input is a row."""
        return build.every(build.rows(value, self.input_axis(node), 2, length), step)

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """Each output element sums over the features."""
        return matrix_macs(inputs[0], output, axis=-2 if flag(node, "transA") else -1)
