"""Means and sums over channels, written as the products that they are.

The mean of N channels is a product with N weights of 1 / N. Written so, it is one more consumer of
the channels: when some of them go, the weights of those that are left make up for them, as those
of any other layer do. A mean over what is left alone would be another number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.ir import bodies, constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import flag
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.rewrite.model_copy import Copy
from nmcore_onnx.trace.axes import reduced_axes
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.weighted import CHANNEL_SUM
from nmcore_onnx.trace.slots import ProducerSlot

_WIDE = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
# The ranks of data that a convolution of one tap takes.
_CONVOLVED = (3, 4, 5)


@dataclass(frozen=True)
class ChannelSum:
    """A mean or a sum over the channels of one hidden layer.

    Attributes
    ----------
    axis, rank, width : int
        The axis that is reduced, of how many, and its length.
    """

    axis: int
    rank: int
    width: int

    @property
    def is_last(self) -> bool:
        """Whether the axis is the last one."""
        return self.axis == self.rank - 1


def summable(trace: Trace) -> dict[str, ChannelSum]:
    """All means and sums over the channels that one weight makes, by the names of their nodes.

    The residual stream of a transformer, whose norms may be written so too, is made by many
    weights: it stays, as it does in front of a LayerNormalization. A gate that multiplies the
    channels later on is another weight of theirs, but makes nothing of what is summed.
    """
    found: dict[str, ChannelSum] = {}
    read: dict[str, list[int]] = {}
    stay: set[int] = set()
    nodes = list(bodies.walk(trace.graph))
    if any(_changes_type(node) for node in nodes):
        return found
    makers = _makers(trace)
    for node in nodes:
        channels = trace.at(node) if node.op_type in ("ReduceMean", "ReduceSum") else None
        if channels is None or channels.length is None or not node.name:
            continue
        shape, width = trace.shape(node.inputs[0]), channels.length
        if shape is None:
            continue
        total = ChannelSum(channels.axis, len(shape), width)
        atoms = channels.atoms.tolist()
        maker = _direct(node, {slot for atom in atoms for slot in makers[atom]})
        plain = [constants.dtype(slot.place.value) for slot in maker] == [np.float32]
        if plain and _is_product(node, total):
            found[node.name], read[node.name] = total, atoms
        elif len(maker) > 1:  # which keeps these channels wherever else they are summed
            stay.update(atoms)
    names = [node.name for node in nodes]
    return {
        name: total
        for name, total in found.items()
        if names.count(name) == 1 and stay.isdisjoint(read[name])
    }


def _makers(trace: Trace) -> defaultdict[int, set[ProducerSlot]]:
    """The weights that make each channel."""
    found: defaultdict[int, set[ProducerSlot]] = defaultdict(set)
    for slot in trace.producers:
        for atom in slot.atoms.tolist():
            found[atom].add(slot)
    return found


def _direct(node: ir.Node, makers: set[ProducerSlot]) -> set[ProducerSlot]:
    """Those whose channels reach a node with none of the others between."""
    if len(makers) < 2:
        return makers
    nodes = {slot.node for slot in makers}
    stack, seen = [node], {node}
    while stack:
        for value in stack.pop().inputs:
            before = value.producer() if value is not None else None
            if before is not None and before not in seen:
                seen.add(before)
                if before not in nodes:
                    stack.append(before)
    return {slot for slot in makers if slot.node in seen}


def _changes_type(node: ir.Node) -> bool:
    """Whether a node makes floats of another width, so that types would have to be followed."""
    if node.op_type == "CastLike":
        return True
    return node.op_type == "Cast" and node.attributes["to"].as_int() in map(int, _WIDE)


def _is_product(node: ir.Node, total: ChannelSum) -> bool:
    """Whether a node reduces the axis alone, and a MatMul or a Conv can do so."""
    axes = reduced_axes(node)
    if not axes or {axis % total.rank for axis in axes} != {total.axis}:
        return False
    convolved = total.axis == 1 and total.rank in _CONVOLVED
    return convolved or (total.is_last and total.rank > 1)


def write_sums(graph: ir.Graph, sums: Mapping[str, ChannelSum]) -> Shapes:
    """Turn what :func:`summable` names into products; returns the shapes of what is new."""
    shapes: Shapes = {}
    for node in [node for node in bodies.walk(graph) if node.name in sums]:
        assert isinstance(node.graph, ir.Graph)
        shapes |= _write(node.graph, node, sums[str(node.name)])
    return shapes


def restore_sums(copy: Copy, trace: Trace, changed: Container[Place], removed: IntArray) -> None:
    """Turn products back in a copy whose channels are all left and whose weights are as they were.

    Parameters
    ----------
    copy : Copy
        Of the model that ``trace`` belongs to.
    changed : container of Place
        Where weights have been changed.
    removed : array of int
        The atoms that are gone.
    """
    for slot in trace.consumers:
        written = slot.node.meta.get(CHANNEL_SUM)
        if written and slot.place not in changed and not np.isin(slot.atoms, removed).any():
            _restore(copy.node(slot.node), written)


def _write(graph: ir.Graph, node: ir.Node, total: ChannelSum) -> Shapes:
    """The product takes over the node's name and its output's."""
    number = 1.0 if node.op_type == "ReduceSum" else 1.0 / total.width
    size = (total.width, 1) if total.is_last else (1, total.width, *[1] * (total.rank - 2))
    made = ir.node("MatMul" if total.is_last else "Conv", [node.inputs[0], None], name=node.name)
    made.meta[CHANNEL_SUM] = _Written.of(node)
    graph.insert_before(node, made)
    constants.insert(Place(made, 1), f"{node.name}.weights", np.full(size, number, np.float32))
    result = made.outputs[0]
    if not flag(node, "keepdims", default=True):
        result.name = f"{node.name}.kept"
        result = _squeezed(graph, node, made, total.axis)
    _replace(node, result)
    weights = made.inputs[1]
    assert weights is not None
    return {str(weights.name): size}


@dataclass(frozen=True)
class _Written:
    """What a product stood for: an operator, its attributes, and axes that are an input."""

    op_type: str
    attributes: Mapping[str, ir.Attr]
    axes: IntArray | None

    @classmethod
    def of(cls, node: ir.Node) -> _Written:
        axes = constants.array(Place(node, 1).value)
        return cls(node.op_type, dict(node.attributes), axes)


def _restore(product: ir.Node, written: _Written) -> None:
    """Put the operator back; the Squeeze behind the product, where there is one, goes with it."""
    graph, last, name = product.graph, product, product.name
    assert isinstance(graph, ir.Graph)
    inputs = [product.inputs[0]] + ([] if written.axes is None else [None])
    node = ir.node(written.op_type, inputs, dict(written.attributes), name=name)
    graph.insert_before(product, node)
    if written.axes is not None:
        constants.insert(Place(node, 1), f"{name}.axes", written.axes)
    if not flag(node, "keepdims", default=True):
        (last,) = (use.node for use in product.outputs[0].uses())
    _replace(last, node.outputs[0])
    if last is not product:
        _remove(product)


def _replace(node: ir.Node, result: ir.Value) -> None:
    """Let another value take over what a node gives, down to the name, and remove the node."""
    output = node.outputs[0]
    ir.convenience.replace_all_uses_with(output, result, replace_graph_outputs=True)
    result.name, result.shape, result.type = output.name, output.shape, output.type
    _remove(node)


def _remove(node: ir.Node) -> None:
    """Remove a node with the constant that it alone reads: axes, or weights."""
    graph, constant = node.graph, Place(node, 1).value
    assert isinstance(graph, ir.Graph)
    graph.remove(node, safe=True)
    if constant is not None:
        constants.drop(constant)


def _squeezed(graph: ir.Graph, node: ir.Node, made: ir.Node, axis: int) -> ir.Value:
    """The product without the axis, which has one entry."""
    name = f"{node.name}.squeezed"
    if graph.opset_imports.get("", 1) < 13:
        squeeze = ir.node("Squeeze", made.outputs, {"axes": [axis]}, name=name)
        graph.insert_before(node, squeeze)
    else:
        squeeze = ir.node("Squeeze", [made.outputs[0], None], name=name)
        graph.insert_before(node, squeeze)
        constants.insert(Place(squeeze, 1), f"{node.name}.axis", np.array([axis]))
    return squeeze.outputs[0]
