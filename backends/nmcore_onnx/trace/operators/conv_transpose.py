"""ConvTranspose: weight (C, O / groups, *taps), bias (O,)."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nmcore.group import FloatArray
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.base import Known, convolution_macs
from nmcore_onnx.trace.operators.convolution import Convolution, taps


class ConvTranspose(Convolution):
    """A transposed convolution; in groups only with one channel each."""

    op_type = "ConvTranspose"
    grouped_name = "a grouped transposed convolution"

    def axes(self, node: ir.Node) -> tuple[int, int]:
        """Rows on axis 1, columns on axis 0."""
        return 1, 0

    def follow_groups(
        self,
        node: ir.Node,
        trace: Trace,
        channels: Channels,
        shape: tuple[int, ...],
        groups: int,
    ) -> bool:
        """One channel a group (depthwise): channels pass."""
        owners = channels.expand(shape[0]) if shape[0] == groups else None
        if owners is None:
            return False
        self.pass_filters(node, trace, owners, owners, shape[1])
        return True

    def one_hot(self, kernel: tuple[int, ...]) -> FloatArray:
        """Shape (1, taps, *kernel)."""
        return taps(kernel)[None]

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """Each input element is spread over one filter."""
        return convolution_macs(inputs[1], inputs[0])
