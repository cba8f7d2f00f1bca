"""Conv: weight (O, C / groups, *taps), bias (O,)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.base import Known, convolution_macs
from nmcore_onnx.trace.operators.convolution import Convolution, taps


class Conv(Convolution):
    """A convolution, in groups or not."""

    op_type = "Conv"
    grouped_name = "a grouped convolution"

    def axes(self, node: ir.Node) -> tuple[int, int]:
        """Rows on axis 0, columns on axis 1."""
        return 0, 1

    def follow_groups(
        self,
        node: ir.Node,
        trace: Trace,
        channels: Channels,
        shape: tuple[int, ...],
        groups: int,
    ) -> bool:
        """A convolution in groups, each with its own run of channels.

        1. One channel a group (depthwise): channels pass.
        2. At least as many groups as channels in each: a whole group goes, with all it reads and
           makes.
        3. Few wide groups: each loses the channels at the same places, so that all stay equally
           wide.
        """
        outputs, width = shape[:2]
        owners = channels.owners()
        if owners is None or len(owners) != width * groups:
            return False
        runs = owners.reshape(groups, width)
        if width <= groups:  # cases 1 and 2
            trace.atoms.tie(runs)
            first, filters = runs[:, 0].copy(), outputs // groups
            self.pass_filters(node, trace, first, np.repeat(first, filters), filters)
            return True
        trace.atoms.tie(runs.T)
        rows, columns = self.axes(node)
        filters = outputs // groups
        parts = [(k * width, range(k * filters, (k + 1) * filters)) for k in range(groups)]
        trace.consume_parts(node, self.weight_input, columns, (rows,), Channels(1, owners), parts)
        made = trace.produce(node, Place(node, self.weight_input), rows, columns, axis=1)
        trace.atoms.tie(made.atoms.reshape(groups, -1).T)
        self.slice_bias(node, trace, made)
        return True

    def one_hot(self, kernel: tuple[int, ...]) -> FloatArray:
        """Shape (taps, 1, *kernel)."""
        return taps(kernel)[:, None]

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """Each output element sums over one filter."""
        return convolution_macs(inputs[1], output)
