"""Residual blocks: where they are, and a model of the error of one and its derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from nmcore.group import IntArray
from nmcore.plugins.capabilities import Block
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.probes import moments
from nmcore_onnx.probes.gradients import ELEMENTWISE, OPSET, backpropagate
from nmcore_onnx.rewrite.model_copy import Copy
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.operators.convolution import Convolution
from nmcore_onnx.trace.slots import ConsumerSlot

# Layers whose weights can be fitted.
_FITTED = ("Conv", "Gemm")


@dataclass(frozen=True, eq=False)
class Section:
    """The nodes between two values of which each is all that later nodes need.

    Attributes
    ----------
    source, output : ir.Value
        The two values.
    nodes : tuple of ir.Node
        What lies between, in topological order.
    """

    source: ir.Value
    output: ir.Value
    nodes: tuple[ir.Node, ...]

    def after(self, other: Section) -> Section:
        """One section of both: of another, which gives what this one reads, and of this one."""
        return replace(other, output=self.output, nodes=(*other.nodes, *self.nodes))


def find(
    graph: ir.Graph, computed: set[ir.Value], carriable: Callable[[ir.Value], bool]
) -> Iterator[Section]:
    """The sections that add up two ways from one value, each with the activation behind the sum.

    Parameters
    ----------
    computed : set of ir.Value
        The values that depend on the inputs.
    carriable : callable
        Whether a value can be handed from one probe to the next.
    """
    if graph.opset_imports.get("", graph.opset_imports.get("ai.onnx", 1)) < OPSET:
        return
    found = _sections(graph, computed, carriable)
    while found:
        section = found.pop(0)
        if not _adds_up(section, computed):
            continue
        while found and _is_activation(found[0], computed):
            behind = found.pop(0)
            section = Section(section.source, behind.output, (*section.nodes, *behind.nodes))
        yield _leading(section)


def _leading(section: Section) -> Section:
    """A section without nodes that lead to nothing, or only to what comes behind it."""
    order = {node: number for number, node in enumerate(section.nodes)}
    found: set[ir.Node] = set()
    open_ = [section.output.producer()]
    while open_:
        node = open_.pop()
        if node in order and node not in found:
            found.add(node)
            open_ += [value.producer() for value in node.inputs if value is not None]
    return replace(section, nodes=tuple(node for node in section.nodes if node in found))


def _sections(
    graph: ir.Graph, computed: set[ir.Value], carriable: Callable[[ir.Value], bool]
) -> list[Section]:
    """All of a graph between the first and the last value that is alone in being needed."""
    nodes = list(graph)
    last = {value: len(nodes) for value in graph.outputs}
    for number, node in reversed(list(enumerate(nodes))):
        for value in node.inputs:
            if value is not None and value in computed:
                last.setdefault(value, number)
    live = {value for value in graph.inputs if value in last}
    cuts: dict[ir.Value, int] = {}
    for number in range(len(nodes) + 1):
        live = {value for value in live if last[value] >= number}
        (alone,) = live if len(live) == 1 else (None,)
        if alone is not None and alone.producer() is not None and carriable(alone):
            cuts.setdefault(alone, number)
        live.update(value for node in nodes[number : number + 1] for value in node.outputs)
        live &= last.keys()
    return [
        Section(source, output, tuple(nodes[start:stop]))
        for (source, start), (output, stop) in pairwise(cuts.items())
    ]


def _adds_up(section: Section, computed: set[ir.Value]) -> bool:
    """Whether there is a sum of two values that depend on the inputs."""
    return any(
        node.op_type == "Add" and all(value in computed for value in node.inputs)
        for node in section.nodes
    )


def _is_activation(section: Section, computed: set[ir.Value]) -> bool:
    """Whether all that a section does is to take each number by itself."""
    nodes = [node for node in section.nodes if node.outputs[0] in computed]
    return len(nodes) == 1 and nodes[0].op_type in ELEMENTWISE


def can_be_fitted(slot: ConsumerSlot) -> bool:
    """Whether a layer is one whose whole weight belongs to it alone and can be fitted."""
    node, operator = slot.node, operators.weighted(slot.node)
    source = constants.source(slot.place.value)
    return (
        node.op_type in _FITTED
        and not slot.twins
        and len(slot.outputs) == slot.width
        and operator.factor(node) == operator.bias_factor(node) == 1
        and source is not None
        and len(constants.readers(source)) == 1
        and constants.dtype(source) == np.float32
    )


@dataclass(frozen=True, eq=False)
class Left:
    """What is left of a value: some entries of an axis."""

    axis: int
    entries: IntArray


def probe(
    copy: Copy,
    block: Block,
    section: Section,
    readings: Sequence[moments.Reading],
    left: Left | None,
    shapes: Shapes,
) -> ir.Model:
    """Turn a copy of a model as it stands into the error of a block and its derivatives.

    Parameters
    ----------
    block, section : Block, Section
        The block; see :meth:`nmcore.plugins.Differentiable.block_probe`.
    readings : sequence of moments.Reading
        Its weights, in the block's order.
    left : Left or None
        What the working copy has left of the original's value; None where it has all.
    shapes : mapping of value name to shape
        Of the model.
    """
    graph = copy.model.graph
    graph.outputs.clear()
    build, inputs = Builder(graph, prefix="nmcore.block"), []

    def given(name: str) -> ir.Value:
        inputs.append(ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT)))
        return inputs[-1]

    ir.convenience.replace_all_uses_with(copy.value(section.source), given(block.start.current))
    wanted = given(block.stop.original)
    # How a layer's input is unfolded follows from the shape of its weight while that is a constant.
    read = [_read(build, copy, reading) for reading in readings]
    build.before(graph[0])
    weights = [given(name) for name in block.inputs]
    for reading, weight, bias in zip(readings, weights[::2], weights[1::2], strict=True):
        _give_weight(build, copy.place(reading.slot.place), reading.slot, weight)
        _give_bias(copy.node(reading.slot.node), bias)
    build.before(None)
    if left is not None:
        wanted = build.node("Gather", wanted, build.ints(*left.entries.tolist()), axis=left.axis)
    output = copy.value(section.output)
    missing = build.node("Sub", output, wanted)
    error = build.node("ReduceSum", build.node("Mul", missing, missing), keepdims=0)
    nodes = [copy.node(node) for node in section.nodes]
    made = [copy.value(reading.slot.node.outputs[0]) for reading in readings]
    derivatives = backpropagate(
        build, nodes, made, output, build.node("Add", missing, missing), shapes
    )
    outputs = [error]
    for reading, own, value in zip(readings, read, made, strict=True):
        outputs += _of_layer(build, reading, own, derivatives[value])
    for value in outputs:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.extend(outputs)
    RemoveUnusedNodesPass()(copy.model)
    graph.inputs.clear()
    graph.inputs.extend(inputs)
    return copy.model


def _give_weight(build: Builder, place: Place, slot: ConsumerSlot, matrix: ir.Value) -> None:
    """Let a layer read its weight from an array (F, O)."""
    shape = constants.shape(place.value) or ()
    (row,) = slot.rows
    rest = [axis for axis in range(len(shape)) if axis not in (row, slot.axis)]
    order = [row, slot.axis, *rest]
    weight = build.node("Transpose", matrix, perm=[1, 0])
    weight = build.node("Reshape", weight, build.ints(*(shape[axis] for axis in order)))
    if order != sorted(order):
        weight = build.node("Transpose", weight, perm=[order.index(k) for k in range(len(order))])
    weight.shape, weight.type = ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)
    place.node.replace_input_with(place.index, weight)


def _give_bias(node: ir.Node, bias: ir.Value) -> None:
    """Let a layer read its bias from an array (O,)."""
    index = operators.weighted(node).bias_input
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, bias)


def _read(build: Builder, copy: Copy, reading: moments.Reading) -> ir.Value:
    """What a layer reads: columns (n, F, *positions) of a convolution, rows (n, F) of another."""
    node = copy.node(reading.slot.node)
    operator = operators.weighted(node)
    if isinstance(operator, Convolution):
        value = moments.channels(build, copy, reading)
        return operator.columns(build, node, reading.slot.place.index, value, len(reading.columns))
    return moments.features(build, copy, reading)


def _of_layer(
    build: Builder, reading: moments.Reading, read: ir.Value, derivative: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """The derivatives of a layer's weight (F, O) and bias (O,), from what it reads and the
    derivative of what it gives.
    """
    if isinstance(operators.weighted(reading.slot.node), Convolution):
        # Input by input: to bring the columns of all into rows would take longer than the products.
        columns, given = (
            build.node("Reshape", each, build.ints(0, 0, -1)) for each in (read, derivative)
        )
        products = build.node("MatMul", columns, build.node("Transpose", given, perm=[0, 2, 1]))
        return (
            build.node("ReduceSum", products, build.ints(0), keepdims=0),
            build.node("ReduceSum", given, build.ints(0, 2), keepdims=0),
        )
    rank = len(constants.shape(reading.slot.place.value) or ())
    given = build.rows(derivative, 1, rank, len(reading.outputs))
    return build.product(read, given), build.total(given)
