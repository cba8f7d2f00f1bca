"""MatMul with a weight (F, N) on data (..., F) of any rank, the bias in an Add behind it; or with a
weight (N, F) on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray, IntArray
from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.arrays import computable
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.constant_folding import is_constant
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import only_reader
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.base import Known, matrix_macs
from nmcore_onnx.trace.operators.dense import Dense
from nmcore_onnx.trace.operators.weighted import Weighted, add_to
from nmcore_onnx.trace.slots import ConsumerSlot


class MatMul(Dense):
    """A fully connected layer on the last axis of its data."""

    op_type = "MatMul"
    rank = 1
    output_axis = -1

    def axes(self, node: ir.Node) -> tuple[int, int]:
        """Rows on axis 1, columns on axis 0."""
        return 1, 0

    def input_axis(self, node: ir.Node) -> int:
        """Features are the last axis."""
        return -1

    def is_product(self, node: ir.Node) -> bool:
        """Whether neither factor is a weight, be it one that a caller may set."""
        return not any(is_constant(value, defaults=True) for value in node.inputs)

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """Nothing is followed where the weight is no matrix, or the data's rank is unknown.

        A square weight that does not read the channels that arrive, but mixes the positions of
        each as in ResMLP, lets them pass: its outputs are the same positions again.
        """
        if not self.is_constant(node, trace):
            return
        shape = trace.shape(node.inputs[self.data_input])
        weight = constants.shape(node.inputs[self.weight_input]) or ()
        if len(weight) != 2 or shape is None or len(shape) < 2:
            trace.decline_inputs(node, "whose weight is not a plain matrix")
            trace.leave(node, "its weight is not a plain matrix, or its input's rank is unknown")
            return
        channels = trace.at(node, self.data_input)
        if channels is not None and self.mixes_positions(node, channels, len(shape)):
            trace.carry(node, channels)
            trace.leave(node, "it mixes positions, of which all stay")
            return
        super().follow(node, trace)

    def mixes_positions(self, node: ir.Node, channels: Channels, rank: int) -> bool:
        """Whether channels of data with ``rank`` axes stand beside what a square weight reads."""
        weight = constants.shape(node.inputs[self.weight_input]) or ()
        return channels.axis < rank - 1 and weight[0] == weight[1]

    def slice_bias(self, node: ir.Node, trace: Trace, made: Channels) -> None:
        """The bias is another node's, which slices it as any constant that is added."""

    def bias(self, node: ir.Node, width: int, index: int) -> FloatArray | None:
        """The constant of the Add behind it."""
        added = _adder(node, width)
        return None if added is None else _addend(added, width)

    def add_bias(self, node: ir.Node, addition: FloatArray, index: int) -> ir.Value | None:
        """Change the Add that gives the output, or put one behind the product, whose sum takes over
        the output's name.
        """
        if node.op_type != self.op_type:
            add_to(_bias_place(node), addition)
            return None
        return _insert_add(node, addition, constants.dtype(node.inputs[1]))

    def output(self, node: ir.Node) -> ir.Value:
        """What the Add behind it gives, where there is one."""
        shape = constants.shape(node.inputs[self.weight_input]) or (0,)
        width = shape[self.axes(node)[0] % len(shape)]
        return (_adder(node, width) or node).outputs[0]

    def unfold(
        self, build: Builder, node: ir.Node, index: int, value: ir.Value, length: int, step: int = 1
    ) -> ir.Value:
        """Each position of each input is a row."""
        value = build.node("Reshape", value, build.ints(-1, length))
        return build.every(build.node("Cast", value, to=int(ir.DataType.FLOAT)), step)

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """Each output element sums over the last axis of the left factor."""
        return matrix_macs(inputs[0], output)


class LeftMatMul(Weighted):
    """A MatMul with the weight (N, F) on its left, on the last axis but one of data (..., F, P)."""

    op_type = "MatMul"
    rank = 2
    weight_input = 0
    data_input = 1
    output_axis = -2

    def axes(self, node: ir.Node) -> tuple[int, int]:
        """Rows on axis 0, columns on axis 1."""
        return 0, 1

    def input_axis(self, node: ir.Node) -> int:
        """Features are the last axis but one."""
        return -2

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """Channels on the last axis pass: the weight mixes the positions of each."""
        if not self.is_constant(node, trace):
            return
        shape, channels = trace.shape(node.inputs[1]), trace.at(node, 1)
        if len(constants.shape(node.inputs[0]) or ()) != 2 or shape is None or len(shape) < 2:
            trace.decline_inputs(node, "whose weight is not a plain matrix")
            trace.leave(node, "its weight is not a plain matrix, or its input's rank is unknown")
        elif channels is not None and channels.axis == len(shape) - 1:
            trace.carry(node, channels)
            trace.leave(node, "it mixes positions, of which all stay")
        else:
            super().follow(node, trace)

    def slice_bias(self, node: ir.Node, trace: Trace, made: Channels) -> None:
        """The bias is another node's, which slices it as any constant that is added."""

    def bias(self, node: ir.Node, width: int, index: int) -> FloatArray | None:
        """None: an Add behind it is a node of its own."""
        return None

    def add_bias(self, node: ir.Node, addition: FloatArray, index: int) -> ir.Value | None:
        """Put an Add behind it; its sum takes over the output's name."""
        return _insert_add(node, addition[:, None], constants.dtype(node.inputs[0]))

    def unfold(
        self, build: Builder, node: ir.Node, index: int, value: ir.Value, length: int, step: int = 1
    ) -> ir.Value:
        """Each position of each input is a row."""
        return build.every(_rows(build, value, length), step)

    def output_rows(
        self, build: Builder, slot: ConsumerSlot, value: ir.Value, chosen: IntArray, step: int = 1
    ) -> ir.Value:
        """The outputs at each position."""
        return build.every(_rows(build, self.picked(build, slot, value, chosen), len(chosen)), step)

    def rebuild(self, node: ir.Node, slot: ConsumerSlot, matrix: FloatArray, tag: str) -> None:
        """A matrix product before the data, from the left as well."""
        graph, data, weight = node.graph, node.inputs[1], constants.array(node.inputs[0])
        assert isinstance(graph, ir.Graph)
        assert weight is not None
        mapped = ir.node("MatMul", [None, data], name=f"nmcore.rebuilt.{tag}")
        mapped.outputs[0].name = f"{mapped.name}.output"
        graph.insert_before(node, mapped)
        turned = np.ascontiguousarray(matrix.T)
        constants.insert(Place(mapped, 0), f"nmcore.z.{tag}", turned.astype(weight.dtype))
        node.replace_input_with(1, mapped.outputs[0])

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """Each output element sums over the last axis of the left factor."""
        return matrix_macs(inputs[0], output)


def _rows(build: Builder, value: ir.Value, length: int) -> ir.Value:
    """A value (..., length, P) as single-precision rows (n, length)."""
    value = build.node("Cast", value, to=int(ir.DataType.FLOAT))
    turned = build.node("Einsum", value, equation="...fp->...pf")
    return build.node("Reshape", turned, build.ints(-1, length))


def _adder(node: ir.Node, width: int) -> ir.Node | None:
    """The Add that gives a MatMul its bias, or None."""
    reader = only_reader(node.outputs[0])
    if reader is None or reader.op_type != "Add":
        return None
    return reader if _addend(reader, width) is not None else None


def _bias_place(added: ir.Node) -> Place:
    """Where the Add reads the bias."""
    return Place(added, 0 if constants.tensor(added.inputs[0]) is not None else 1)


def _addend(added: ir.Node, width: int) -> FloatArray | None:
    """The bias that an Add holds: a constant with one entry a channel on its last axis."""
    value = _bias_place(added).value
    shape = constants.shape(value)
    if not shape or not constants.is_float(value) or not int(np.prod(shape)) == shape[-1] == width:
        return None
    found = constants.array(value)
    assert found is not None
    return computable(found).reshape(-1) if found.size == width else None


def _insert_add(node: ir.Node, addition: FloatArray, dtype: np.dtype[Any]) -> ir.Value:
    """Put an Add behind a MatMul that has no bias; the sum takes over the output's name."""
    output, graph = node.outputs[0], node.graph
    assert isinstance(graph, ir.Graph)
    name = f"{node.name or output.name}.bias"
    added = ir.node("Add", [output, None], name=names.node_name(graph, name), num_outputs=1)
    graph.insert_after(node, added)
    total = added.outputs[0]
    total.shape, total.type = output.shape, output.type
    total.name = output.name
    output.name = names.value_name(graph, f"{output.name}_without_bias")
    constants.insert(Place(added, 1), name, addition.astype(dtype))
    for use in list(output.uses()):
        if use.node is not added:
            use.node.replace_input_with(use.idx, total)
    for index, value in enumerate(graph.outputs):
        if value is output:
            graph.outputs[index] = total
    return total
