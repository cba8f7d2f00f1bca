"""Conv: weight (O, C / groups, *taps), bias (O,); also with an activation in one, FusedConv."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.base import Known, convolution_macs
from nmcore_onnx.trace.operators.convolution import Convolution, taps

# What FusedConv adds before its activation.
_ADDED = 3


class Conv(Convolution):
    """A convolution, in groups or not."""

    op_type = plain = "Conv"
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


class FusedConv(Conv):
    """onnxruntime's own: a convolution, perhaps a sum with another value, and an activation, which
    works on each number alone.
    """

    op_type = "FusedConv"
    domain = "com.microsoft"
    is_activated = True

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """As a convolution; what is added before the activation has the same channels."""
        super().follow(node, trace)
        if Place(node, _ADDED).value is None:
            return
        made, added = trace.channels.get(node.outputs[0]), trace.at(node, _ADDED)
        if made is None or added is None:
            why = "where they meet values whose channels must stay"
            for each in (made, added):
                if each is not None:
                    trace.decline(node, each, why)
        elif trace.join(made, added) is None:
            for each in (made, added):
                trace.decline(node, each, "which adds others to them")

    def product(self, build: Builder, node: ir.Node, index: int, output: ir.Value) -> ir.Value:
        """The convolution alone."""
        parts = [self.data(build, node, index), *node.inputs[1:_ADDED]]
        groups = node.attributes["group"].as_int() if "group" in node.attributes else 1
        return self._at(build, node, [each for each in parts if each is not None], groups)
