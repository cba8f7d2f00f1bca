"""ConvTranspose: weight (C, O / groups, *taps), bias (O,)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.base import Known, convolution_macs
from nmcore_onnx.trace.operators.convolution import Convolution, taps


class ConvTranspose(Convolution):
    """A transposed convolution, in groups or not."""

    op_type = plain = "ConvTranspose"
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
        """A whole group goes, with all it reads and makes: one channel where it is depthwise.

        Its weight has an entry for each channel it reads, and the outputs of one group.
        """
        owners = channels.owners()
        if owners is None or len(owners) != shape[0] or shape[0] % groups:
            return False
        runs = owners.reshape(groups, -1)
        trace.atoms.tie(runs)
        first = runs[:, 0].copy()
        self.pass_filters(node, trace, first, np.repeat(first, runs.shape[1]), shape[1])
        return True

    def one_hot(self, kernel: tuple[int, ...]) -> FloatArray:
        """Shape (1, taps, *kernel)."""
        return taps(kernel)[None]

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """Each input element is spread over one filter."""
        return convolution_macs(inputs[1], inputs[0])
