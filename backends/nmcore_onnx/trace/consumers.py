"""What a consumer adds to its products: its bias and the scale of the batch norm behind it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from nmcore.group import BatchNorm, FloatArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.arrays import computable, read
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import attribute, only_reader
from nmcore_onnx.trace.groups import TracedGroup
from nmcore_onnx.trace.slots import ConsumerSlot


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
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or place.value is None:
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


def _batchnorm(node: ir.Node) -> BatchNorm | None:
    if node.op_type != "BatchNormalization":
        return None
    arrays = [constants.array(value) for value in node.inputs[1:5]]
    if any(found is None for found in arrays):
        return None
    gamma, beta, mean, var = (computable(found) for found in arrays if found is not None)
    if not gamma.shape == beta.shape == mean.shape == var.shape:
        return None
    return BatchNorm(gamma, beta, mean, var, attribute(node, "epsilon", 1e-5))


def is_partial(group: TracedGroup, slot: ConsumerSlot) -> bool:
    """Whether a consumer reads more than the group's channels."""
    return not np.isin(slot.source_atoms, group.units).all()


def width_of(slot: ConsumerSlot) -> int:
    """How many outputs a consumer has."""
    return (constants.shape(slot.place.value) or ())[slot.rows]


def output_of(node: ir.Node) -> ir.Value:
    """A consumer's output with its bias added, wherever the exporter put the bias."""
    shape = constants.shape(node.inputs[1]) or (0,)
    added = bias_node(node, shape[-1])
    return (added or node).outputs[0]
