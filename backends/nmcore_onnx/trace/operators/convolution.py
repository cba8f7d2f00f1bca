"""What Conv and ConvTranspose have in common: taps, groups, and how inputs are unfolded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray, IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.weighted import Weighted
from nmcore_onnx.trace.slots import ConsumerSlot

# What says where a filter stands.
_GEOMETRY = ("strides", "pads", "dilations", "auto_pad", "output_padding", "output_shape")


class Convolution(Weighted):
    """Filters of any number of taps over data (batch, channels, *positions)."""

    rank = 3
    output_axis = 1
    # The operator of ONNX itself that does the same without an activation.
    plain: ClassVar[str]
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

    def columns(
        self, build: Builder, node: ir.Node, index: int, value: ir.Value, length: int
    ) -> ir.Value:
        """What each position reads, (batch, length * taps, *positions).

        A convolution with one-hot filters, one a channel and tap, puts each tap at its place. It
        has the strides, dilations and pads of the node itself.
        """
        kernel = (constants.shape(node.inputs[index]) or ())[2:]
        value = build.node("Cast", value, to=int(ir.DataType.FLOAT))
        if self._is_pointwise(node, kernel):
            return value
        filters = np.tile(self.one_hot(kernel), (length, 1, *([1] * len(kernel))))
        return self._same_geometry(build, node, value, filters, length)

    def unfold(
        self, build: Builder, node: ir.Node, index: int, value: ir.Value, length: int, step: int = 1
    ) -> ir.Value:
        """The :meth:`columns` as rows. Where only some positions are wanted, their taps alone are
        gathered.
        """
        kernel = (constants.shape(node.inputs[index]) or ())[2:]
        if self._is_pointwise(node, kernel) or step == 1 or not build.knows_steps:
            columns = self.columns(build, node, index, value, length)
            step = step if self._is_pointwise(node, kernel) else 1
            return build.position_rows(columns, length * math.prod(kernel), step)
        value = build.node("Cast", value, to=int(ir.DataType.FLOAT))
        sources = self._sources(build, node, value, kernel, step)
        # Position by position, so that all channels are copied at once.
        value = build.node(
            "Transpose", build.node("Reshape", value, build.ints(0, 0, -1)), perm=[0, 2, 1]
        )
        value = build.node("Gather", build.padded(value), sources, axis=1)
        value = build.node("Transpose", value, perm=[0, 1, 3, 2])
        return build.node("Reshape", value, build.ints(-1, length * math.prod(kernel)))

    def _sources(
        self, build: Builder, node: ir.Node, value: ir.Value, kernel: tuple[int, ...], step: int
    ) -> ir.Value:
        """Which positions of the data some output positions read, (positions, taps), from 1 on.

        The node's own geometry is applied to the numbers of the positions; what it pads is 0.
        """
        shape = build.node(
            "Slice", build.node("Shape", value), *map(build.ints, (2, 2 + len(kernel), 0))
        )
        ones = build.node("ConstantOfShape", shape, value=ir.tensor(np.ones(1, np.float32)))
        numbers = build.node("NonZero", build.node("Reshape", ones, build.ints(-1)))
        numbers = build.node(
            "Add",
            build.node("Cast", numbers, to=int(ir.DataType.FLOAT)),
            build.constant(np.float32(1)),
        )
        numbers = build.node(
            "Reshape", numbers, build.node("Concat", build.ints(1, 1), shape, axis=0)
        )
        picked = self._same_geometry(build, node, numbers, self.one_hot(kernel), 1)
        picked = build.node("Reshape", picked, build.ints(math.prod(kernel), -1))
        picked = build.node("Transpose", build.every(picked, step, axis=1), perm=[1, 0])
        return build.node("Cast", picked, to=int(ir.DataType.INT64))

    def _same_geometry(
        self, build: Builder, node: ir.Node, value: ir.Value, filters: FloatArray, groups: int
    ) -> ir.Value:
        """Other filters at the places of a node's own."""
        return self._at(build, node, [value, build.constant(filters)], groups)

    def _at(
        self, build: Builder, node: ir.Node, inputs: Sequence[ir.Value], groups: int
    ) -> ir.Value:
        """The plain operator with the geometry of a node."""
        made = build.node(self.plain, *inputs, group=groups)
        maker = made.producer()
        assert maker is not None
        for name in _GEOMETRY:
            if name in node.attributes:
                maker.attributes[name] = node.attributes[name]
        return made

    def output_rows(
        self, build: Builder, slot: ConsumerSlot, value: ir.Value, chosen: IntArray, step: int = 1
    ) -> ir.Value:
        """The channels at each position."""
        value = self.picked(build, slot, value, chosen)
        value = build.node("Cast", value, to=int(ir.DataType.FLOAT))
        return build.position_rows(value, len(chosen), step)

    @staticmethod
    def _is_pointwise(node: ir.Node, kernel: tuple[int, ...]) -> bool:
        """Whether each position reads itself alone."""
        plain = all(
            name not in node.attributes or set(node.attributes[name].as_ints()) == {number}
            for name, number in (("strides", 1), ("pads", 0), ("output_padding", 0))
        )
        return math.prod(kernel) == 1 and plain and "output_shape" not in node.attributes


def taps(kernel: tuple[int, ...]) -> FloatArray:
    """All one-hot kernels of a shape, (taps, *kernel)."""
    count = math.prod(kernel)
    return np.eye(count, dtype=np.float32).reshape(count, *kernel)
