"""onnxruntime's FusedMatMul: alpha A' B', where each factor's last two axes may be turned."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx.ir.nodes import attribute, flag
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
        """Its rows make channels, also from turned data; channels in these stay.

        Nothing is followed where batches are turned, or the factor is 0.
        """
        turned = flag(node, "transA") and trace.at(node) is not None
        if turned or flag(node, "transBatchA") or flag(node, "transBatchB"):
            trace.decline_inputs(node, "which turns them")
            trace.leave(node, "it turns the channels that it reads")
        elif self.factor(node) == 0:
            trace.decline_inputs(node, "which is switched off")
            trace.leave(node, "it is switched off")
        else:
            super().follow(node, trace)

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """Each output element sums over the last axis of the left factor, turned or not."""
        return matrix_macs(inputs[0], output, axis=-2 if flag(node, "transA") else -1)
