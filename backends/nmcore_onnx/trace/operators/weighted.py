"""The base class of adapters for operators with a weight that channels can be removed from."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray, IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.arrays import computable, read
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.constant_folding import folded_shape, is_constant
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.defaults import is_overridable
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.quantisation import marks
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.base import Operator
from nmcore_onnx.trace.slots import ConsumerSlot, ProducerSlot

# The mark of a node that stands for a mean or a sum over channels: it makes no channels itself.
CHANNEL_SUM = "nmcore.channel_sum"


class Weighted(Operator):
    """An operator whose weight reads channels along one axis and makes channels along another.

    The defaults fit a linear operator with one weight, which reads input 0, and a bias: a subclass
    then tells its axes, how its input is unfolded and how it is counted. One that has several
    weights or a state that it reads itself, such as an LSTM, overrides more of it: :meth:`follow`
    names every weight that reads, makes or loses channels, and the methods that are given ``index``
    or a slot are asked for each of the weights that read channels.

    Attributes
    ----------
    rank : int
        The fewest axes that its weight may have.
    data_input, bias_input : int
        The inputs that hold what it multiplies, and its bias.
    output_axis : int or None
        The axis of its output that the weight's rows make; -1 is the last one, of whatever rank.
        None where what it gives is no product.
    is_activated : bool
        Whether an activation is part of the operator: then no batch norm and no sum behind it is
        taken for a part of the product.
    """

    rank: ClassVar[int]
    data_input: ClassVar[int] = 0
    bias_input: ClassVar[int] = 2
    output_axis: ClassVar[int | None]
    is_activated: ClassVar[bool] = False

    # axes

    @property
    def parameters(self) -> tuple[int, ...]:
        """The inputs that hold weights and biases."""
        return self.weight_input, self.bias_input

    def axes(self, node: ir.Node) -> tuple[int, int]:
        """The weight's axes of outputs (its rows) and of inputs (its columns)."""
        raise NotImplementedError

    def input_axis(self, node: ir.Node) -> int:
        """The axis of the data that the columns read; -1 is the last one, of whatever rank."""
        raise NotImplementedError

    def made_axis(self, node: ir.Node, shapes: Shapes) -> int | None:
        """The axis of its output that the weight's rows make, from 0 on; None where not known, or
        where the output is not the product itself.
        """
        if self.is_activated:
            return None
        if self.output_axis is None or self.output_axis >= 0:
            return self.output_axis
        output = shapes.get(node.outputs[0].name or "")
        return None if output is None else self.output_axis + len(output)

    def factor(self, node: ir.Node) -> float:
        """What the operator multiplies its weight by."""
        return 1.0

    def bias_factor(self, node: ir.Node) -> float:
        """What the operator multiplies its bias by."""
        return 1.0

    def dense_rows(self, node: ir.Node) -> FloatArray | None:
        """The weight of a fully connected layer as (N, F), as it is stored; None for others."""
        return None

    def rows(self, slot: ProducerSlot) -> FloatArray:
        """The weight of a producer as (N, columns, *taps), as it acts."""
        array = np.moveaxis(read(slot.place), (slot.axis, slot.columns), (0, 1))
        factor = self.factor(slot.node)
        return array if factor == 1 else array * array.dtype.type(factor)

    def positions(self, node: ir.Node, shapes: Shapes) -> int:
        """How many output positions one sample has; axes of unknown length count as 1."""
        output = shapes.get(node.outputs[0].name or "", ())
        channels = (self.output_axis or 0) % len(output) if output else 0
        sizes = (size for axis, size in enumerate(output) if axis not in (0, channels))
        return math.prod(size for size in sizes if isinstance(size, int))

    # the trace

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """The weight's columns read the channels that arrive; its rows make new ones."""
        if not self.is_constant(node, trace):
            return
        rows, columns = self.axes(node)
        shape = trace.shape(node.inputs[self.data_input])
        self.consume(node, trace)
        if node.meta.get(CHANNEL_SUM):
            return
        assert self.output_axis is not None
        last = self.output_axis + (len(shape or ()) if self.output_axis < 0 else 0)
        made = trace.produce(node, Place(node, self.weight_input), rows, columns, last)
        self.slice_bias(node, trace, made)

    def consume(self, node: ir.Node, trace: Trace) -> None:
        """Let the weight read the channels of the data; decline those on another axis."""
        channels, axis = trace.at(node, self.data_input), self.input_axis(node)
        channels = channels or self._first_state(node, trace)
        if channels is None:
            return
        shape = trace.shape(node.inputs[self.data_input])
        if channels.axis != axis + (len(shape or ()) if axis < 0 else 0):
            trace.decline(node, channels, "which reads them along another axis")
            return
        rows, columns = self.axes(node)
        trace.consume(node, self.weight_input, columns, (rows,), channels)

    def _first_state(self, node: ir.Node, trace: Trace) -> Channels | None:
        """The entries of constant data as channels, where other nodes read the same weight.

        So it stands where the steps of a recurrent layer are written out: the first one reads the
        initial state, which is cut with what the others read.
        """
        data, weight = (Place(node, each) for each in (self.data_input, self.weight_input))
        shape, source = folded_shape(data.value), constants.source(weight.value)
        if not shape or source is None or len(constants.readers(source)) < 2:
            return None
        axis = self.input_axis(node) % len(shape)
        made = Channels(axis, trace.atoms.fresh(shape[axis]))
        trace.slice(node, data.index, axis, made)
        return made

    def slice_bias(self, node: ir.Node, trace: Trace, made: Channels) -> None:
        """Let the bias lose its entries together with the rows."""
        if Place(node, self.bias_input).value is not None:
            trace.slice(node, self.bias_input, 0, made)

    def is_constant(self, node: ir.Node, trace: Trace) -> bool:
        """Whether weight and bias are floating-point constants; says so where they are not."""
        weight, bias = node.inputs[self.weight_input], Place(node, self.bias_input).value
        axes = len(constants.shape(weight) or ())
        if not constants.is_float(weight):
            maker = weight.producer() if weight is not None else None
            reason = "its weight is computed while the model runs"
            if _is_view(maker):
                reason = "its weight is one that others read too, in another layout"
            if not is_constant(weight) and is_constant(weight, defaults=True):
                reason = "its weight is an input that a caller may set"
            if maker is not None and maker.op_type == "DequantizeLinear":
                reason = f"its weight is {marks.reason(maker)}"
            elif maker is not None and any(map(marks.is_quantised, maker.inputs)):
                reason = f"its weight is quantised and passes {maker.op_type}: {marks.ADVICE}"
        elif axes < self.rank:
            reason = f"its weight has {axes} axes, and at least {self.rank} are needed"
        elif bias is not None and not constants.is_float(bias):
            reason = "its bias is no floating-point constant"
            if is_overridable(bias):
                reason = "its bias is an input that a caller may set"
        else:
            return True
        trace.decline_inputs(node, f"but {reason}")
        trace.leave(node, reason)
        return False

    # the bias

    def offsets(self, node: ir.Node, width: int) -> FloatArray | None:
        """What is added to each of ``width`` channels that :meth:`rows` make; None where nothing
        is, or the rows hold it.
        """
        return self.bias(node, width, self.weight_input)

    def bias(self, node: ir.Node, width: int, index: int) -> FloatArray | None:
        """What is added to each of ``width`` outputs of the weight at input ``index``, shape
        (width,); None where nothing is.
        """
        place = Place(node, self.bias_input)
        if place.value is None:
            return None
        bias = read(place).reshape(-1) * np.float32(self.bias_factor(node))
        return np.broadcast_to(bias, width) if bias.size in (1, width) else None

    def add_bias(self, node: ir.Node, addition: FloatArray, index: int) -> ir.Value | None:
        """Add to the bias, shape (O,), of the weight at input ``index``; give it one where it has
        none. ``node`` is the one that gives :meth:`output`, which may be another than that of the
        weight.

        Returns the value that takes the place of the node's output, where a new node makes it.
        """
        place = Place(node, self.bias_input)
        addition = addition / np.float32(self.bias_factor(node))
        if place.value is None:
            dtype = constants.dtype(node.inputs[self.weight_input])
            name = f"{node.name or node.outputs[0].name}.bias"
            constants.insert(place, name, addition.astype(dtype))
        else:
            add_to(place, addition)
        return None

    def output(self, node: ir.Node) -> ir.Value:
        """The value that holds the product with its bias added."""
        return node.outputs[0]

    # probes

    def data(self, build: Builder, node: ir.Node, index: int) -> ir.Value:
        """What the weight at input ``index`` reads, in the graph of ``build``."""
        value = node.inputs[self.data_input]
        assert value is not None
        return value

    def product(self, build: Builder, node: ir.Node, index: int, output: ir.Value) -> ir.Value:
        """What the weight at input ``index`` gives, of the shape of the node's output.

        ``output`` is what :meth:`output` names, in the graph of ``build``.
        """
        return output

    def unfold(
        self, build: Builder, node: ir.Node, index: int, value: ir.Value, length: int, step: int = 1
    ) -> ir.Value:
        """What the weight at input ``index`` reads as rows (n, length * taps).

        One row an output position, of which every ``step``-th is taken; features channel by
        channel, of each tap by tap. ``value`` is what :meth:`data` gives with ``length`` of its
        channels.
        """
        raise NotImplementedError

    def output_rows(
        self, build: Builder, slot: ConsumerSlot, value: ir.Value, chosen: IntArray, step: int = 1
    ) -> ir.Value:
        """Some outputs of a value of the shape of the node's output, as rows (n, O): those that
        belong to the rows of :meth:`unfold`.
        """
        shape, axis = constants.shape(slot.place.value) or (), self.output_axis
        assert axis is not None
        value = self.picked(build, slot, value, chosen)
        if axis >= 0:
            return build.every(build.rows(value, axis, len(shape), len(chosen)), step)
        value = build.node("Reshape", value, build.ints(-1, len(chosen)))
        return build.every(build.node("Cast", value, to=int(ir.DataType.FLOAT)), step)

    def picked(
        self, build: Builder, slot: ConsumerSlot, value: ir.Value, chosen: IntArray
    ) -> ir.Value:
        """Some outputs of a value of the shape of the node's output."""
        if np.array_equal(chosen, np.arange(slot.width)):
            return value
        return build.node("Gather", value, build.ints(*chosen.tolist()), axis=self.output_axis)

    # the reference

    def rebuild(self, node: ir.Node, slot: ConsumerSlot, matrix: FloatArray, tag: str) -> None:
        """Let the weight of a consumer read its channels multiplied by ``matrix`` (L, L).

        A matrix product is put before the node, with the channel axis moved last.
        """
        graph, data = node.graph, node.inputs[self.data_input]
        assert isinstance(graph, ir.Graph)
        assert data is not None
        weight = constants.array(Place(node, slot.place.index).value)
        assert weight is not None
        rank = weight.ndim
        # A Transpose that moves nothing is more than a waste: older onnxruntimes fuse it into a
        # Gemm as if it turned its input.
        mapped = ir.node("MatMul", [data, None], name=f"nmcore.rebuilt.{tag}")
        nodes = [mapped]
        if self.input_axis(node) != -1 and slot.source_axis != rank - 1:
            order = [axis for axis in range(rank) if axis != slot.source_axis] + [slot.source_axis]
            moved = ir.node("Transpose", [data], {"perm": order}, name=f"nmcore.moved.{tag}")
            mapped.replace_input_with(0, moved.outputs[0])
            back = [order.index(axis) for axis in range(rank)]
            back_again = ir.node("Transpose", [mapped.outputs[0]], {"perm": back})
            back_again.name = f"nmcore.moved_back.{tag}"
            nodes = [moved, mapped, back_again]
        for each in nodes:  # a graph gives names that others have
            each.outputs[0].name = f"{each.name}.output"
        graph.insert_before(node, nodes)
        constants.insert(
            Place(mapped, 1),
            f"nmcore.z.{tag}",
            matrix.astype(computable(weight).dtype).astype(weight.dtype),
        )
        node.replace_input_with(self.data_input, nodes[-1].outputs[0])


def _is_view(maker: ir.Node | None) -> bool:
    """Whether a node changes the layout of a constant that others read."""
    if maker is None or maker.op_type not in ("Transpose", "Reshape", "Squeeze", "Unsqueeze"):
        return False
    table = maker.inputs[0]
    return table is not None and constants.tensor(table) is not None and len(table.uses()) > 1


def add_to(place: Place, addition: FloatArray) -> None:
    """Add to a constant, in its own type."""
    old = constants.array(place.value)
    assert old is not None
    constants.replace(place, (computable(old) + addition).astype(old.dtype))
