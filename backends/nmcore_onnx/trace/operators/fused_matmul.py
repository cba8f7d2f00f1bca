"""onnxruntime's FusedMatMul: alpha A' B', where each factor's last two axes may be turned."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx.ir.nodes import attribute, flag
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.base import Known, matrix_macs
from nmcore_onnx.trace.operators.matmul import MatMul


class FusedMatMul(MatMul):
    """As a MatMul with the weight (F, N), or (N, F) where transB is set."""

    op_type = "FusedMatMul"
    domain = "com.microsoft"

    def axes(self, node: ir.Node) -> tuple[int, int]:
        """Rows on axis 1, or on axis 0 where transB is set."""
        return (0, 1) if flag(node, "transB") else (1, 0)

    def factor(self, node: ir.Node) -> float:
        """Its alpha."""
        return attribute(node, "alpha")

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """Nothing is followed where batches are turned, or the factor is 0."""
        fault = None
        if flag(node, "transBatchA") or flag(node, "transBatchB"):
            fault = "turns batches"
        elif self.factor(node) == 0:
            fault = "is switched off"
        if fault is None:
            super().follow(node, trace)
        else:
            trace.decline_inputs(node, f"which {fault}")
            trace.leave(node, f"it {fault}")

    def consume(self, node: ir.Node, trace: Trace) -> None:
        """Channels in data that are turned stay; the rows make new ones all the same."""
        if flag(node, "transA"):
            trace.decline_inputs(node, "which turns them")
        else:
            super().consume(node, trace)

    def mixes_positions(self, node: ir.Node, channels: Channels, rank: int) -> bool:
        """Not where data are turned: the axes are other ones then."""
        return not flag(node, "transA") and super().mixes_positions(node, channels, rank)

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """Each output element sums over the last axis of the left factor, turned or not."""
        return matrix_macs(inputs[0], output, axis=-2 if flag(node, "transA") else -1)
