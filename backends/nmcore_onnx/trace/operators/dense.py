"""What Gemm and MatMul have in common: a plain matrix as weight."""

from __future__ import annotations

import onnx_ir as ir

from nmcore.group import FloatArray
from nmcore_onnx.ir import constants
from nmcore_onnx.trace.operators.weighted import Weighted


class Dense(Weighted):
    """A fully connected layer."""

    is_dense = True

    def dense_rows(self, node: ir.Node) -> FloatArray | None:
        """The weight as (N, F); None where it is no matrix that reads the data's last axis."""
        weight = constants.array(node.inputs[self.weight_input])
        if weight is None or weight.ndim != 2 or self.input_axis(node) == 0:
            return None
        return weight if self.axes(node) == (0, 1) else weight.T
