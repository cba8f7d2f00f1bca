"""What Conv and ConvTranspose have in common: taps, groups, and how inputs are unfolded."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray, IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.weighted import Weighted

# What says where a filter stands.
_GEOMETRY = ("strides", "pads", "dilations", "auto_pad", "output_padding", "output_shape")


class Convolution(Weighted):
    """Filters of any number of taps over data (batch, channels, *positions)."""

    rank = 3
    output_axis = 1
    # How a user knows it when it is grouped.
    grouped_name: ClassVar[str]

    def input_axis(self, node: ir.Node) -> int:
        """Channels are axis 1."""
        return 1

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """Without groups as any weight; else see :meth:`follow_groups`."""
        groups = node.attributes["group"].as_int() if "group" in node.attributes else 1
        if groups == 1:
            super().follow(node, trace)
            return
        if not self.is_constant(node, trace):
            return
        channels, shape = trace.at(node), constants.shape(node.inputs[self.weight_input])
        if channels is None:
            trace.leave(node, f"{self.grouped_name} whose input channels must stay")
            return
        owners = channels.owners() if channels.axis == 1 else None
        if (
            shape is None
            or owners is None
            or not self.follow_groups(node, trace, channels, shape, groups)
        ):
            trace.decline(node, channels, f"{self.grouped_name} that does not fit them")
            trace.leave(node, f"{self.grouped_name} whose input channels are not understood")

    def follow_groups(
        self,
        node: ir.Node,
        trace: Trace,
        channels: Channels,
        shape: tuple[int, ...],
        groups: int,
    ) -> bool:
        """Say where channels go of which each group reads its own run; False where they do not fit.

        Parameters
        ----------
        channels : Channels
            On axis 1, of known length.
        shape : tuple of int
            The weight's.
        groups : int
            More than one.
        """
        raise NotImplementedError

    def pass_filters(
        self, node: ir.Node, trace: Trace, owners: IntArray, rows: IntArray, filters: int
    ) -> None:
        """Let channels pass that own a group each, shape (groups,).

        A group has as many neighbouring outputs as the convolution has ``filters`` for it. ``rows``
        owns the entries of the weight's axis 0.
        """
        trace.filter(node, self.weight_input, owners, rows)
        trace.count(node, "group", owners)
        trace.slice(node, self.weight_input, 0, Channels(1, rows))
        made = Channels(1, np.repeat(owners, filters))
        self.slice_bias(node, trace, made)
        trace.carry(node, made)

    def one_hot(self, kernel: tuple[int, ...]) -> FloatArray:
        """Filters for one channel that each pick one tap, as a weight in this operator's order."""
        raise NotImplementedError

    def unfold(
        self, build: Builder, node: ir.Node, index: int, value: ir.Value, length: int
    ) -> ir.Value:
        """A convolution with one-hot filters, one a channel and tap, puts each tap at its place.

        It has the strides, dilations and pads of the node itself.
        """
        weight = constants.shape(node.inputs[index]) or ()
        kernel = weight[2:]
        filters = np.tile(self.one_hot(kernel), (length, 1, *([1] * len(kernel))))
        value = build.node("Cast", value, to=int(ir.DataType.FLOAT))
        value = build.node(node.op_type, value, build.constant(filters), group=length)
        unfolding = value.producer()
        assert unfolding is not None
        for name in _GEOMETRY:
            if name in node.attributes:
                unfolding.attributes[name] = node.attributes[name]
        return build.rows(value, 1, len(weight), length * math.prod(kernel))


def taps(kernel: tuple[int, ...]) -> FloatArray:
    """All one-hot kernels of a shape, (taps, *kernel)."""
    count = math.prod(kernel)
    return np.eye(count, dtype=np.float32).reshape(count, *kernel)
