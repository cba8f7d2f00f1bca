"""What follows a producer directly: its bias and its batch norm, wherever exporters put them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from nmcore.group import BatchNorm, FloatArray, Producer
from nmcore_onnx import constants
from nmcore_onnx.constants import Place
from nmcore_onnx.trace import DepthwiseSlot, ProducerSlot, label
from nmcore_onnx.weights import attribute, computable, read, rows_of


def producer(slot: ProducerSlot, depthwise: DepthwiseSlot | None = None) -> Producer:
    """The rows of a producer with its bias and the batch norm right behind it.

    A pointwise and a depthwise convolution in a row count as one; bias and batch norm are then
    those of the second.
    """
    width = len(slot.atoms)
    kernel, last = None, slot.node
    if depthwise is not None:
        kernel, last = read(Place(depthwise.node, 1)), depthwise.node
    bias = added_bias(last, width)
    norm = only_reader((bias_node(last, width) or last).outputs[0])
    batchnorm = _batchnorm(norm) if norm is not None else None
    if batchnorm is not None and (len(batchnorm.gamma) != width or last.op_type == "MatMul"):
        batchnorm = None  # it works on axis 1, not on a MatMul's last
    return Producer(label(slot.node), rows_of(slot), bias, batchnorm, kernel)


def added_bias(node: ir.Node, width: int) -> FloatArray | None:
    """The bias of a node, wherever it stands."""
    bias, added = _own_bias(node, width), bias_node(node, width)
    if added is None:
        return bias
    addend = _addend(added, width)
    return addend if bias is None or addend is None else bias + addend


def norm_scale(
    node: ir.Node, width: int, statistics: Mapping[Place, FloatArray]
) -> FloatArray | None:
    """What a batch norm right behind a node multiplies its ``width`` outputs by, or None.

    Batch norms work on axis 1, which is not where a MatMul on sequences has its outputs.
    """
    norm = None if node.op_type == "MatMul" else only_reader(node.outputs[0])
    found = _batchnorm(norm) if norm is not None else None
    if norm is None or found is None:
        return None
    var = statistics.get(Place(norm, 4), found.var)
    if len(found.gamma) != width:
        return None
    scale: FloatArray = found.gamma / np.sqrt(var + found.eps)
    return scale


def bias_node(node: ir.Node, width: int) -> ir.Node | None:
    """The Add that gives a MatMul its bias, or None."""
    reader = only_reader(node.outputs[0])
    if node.op_type != "MatMul" or reader is None or reader.op_type != "Add":
        return None
    return reader if _addend(reader, width) is not None else None


def bias_place(added: ir.Node) -> Place:
    """Where the Add of :func:`bias_node` reads the bias."""
    return Place(added, 0 if constants.tensor(added.inputs[0]) is not None else 1)


def _own_bias(node: ir.Node, width: int) -> FloatArray | None:
    place = Place(node, 2)
    if node.op_type not in ("Conv", "Gemm") or place.value is None:
        return None
    bias = read(place).reshape(-1) * np.float32(attribute(node, "beta"))
    return np.broadcast_to(bias, width) if bias.size in (1, width) else None


def _addend(added: ir.Node, width: int) -> FloatArray | None:
    """The bias that an Add holds: a constant with one entry a channel on its last axis."""
    value = bias_place(added).value
    shape = constants.shape(value)
    if not shape or not constants.is_float(value) or not int(np.prod(shape)) == shape[-1] == width:
        return None
    found = constants.array(value)
    assert found is not None
    return computable(found).reshape(-1) if found.size == width else None


def only_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value, where nothing else does."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    reader, maker = next(iter(uses)).node, value.producer()
    # A reader inside a subgraph runs under conditions of its own.
    return reader if maker is not None and reader.graph is maker.graph else None


def _batchnorm(node: ir.Node) -> BatchNorm | None:
    if node.op_type != "BatchNormalization":
        return None
    arrays = [constants.array(value) for value in node.inputs[1:5]]
    if any(found is None for found in arrays):
        return None
    gamma, beta, mean, var = (computable(found) for found in arrays if found is not None)
    return BatchNorm(gamma, beta, mean, var, attribute(node, "epsilon", 1e-5))
