"""What follows a producer directly: its bias and its normalisation, wherever exporters put them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from nmcore.group import BatchNorm, FloatArray, IntArray, Producer
from nmcore_onnx import constants
from nmcore_onnx.constants import Place
from nmcore_onnx.grouping import TracedGroup, positions
from nmcore_onnx.slots import FilterSlot, ProducerSlot
from nmcore_onnx.trace import label
from nmcore_onnx.weights import attribute, compact, computable, read, rows_of


def producers(traced: TracedGroup) -> list[Producer]:
    """All weights whose rows make the channels of a group.

    A convolution and a depthwise one behind it count as one; where several weights make the
    channels together, a grouped convolution on the way is one more whose rows must be alike.
    """
    rows = [positions(slot.atoms, traced.units) for slot in traced.producers]
    if len(traced.producers) == len(traced.filters) == 1 == rows[0].shape[1]:
        return [_producer(traced.producers[0], traced.units, traced.filters[0])]
    found = [_producer(slot, traced.units) for slot in traced.producers]
    return found + [_filter(slot, traced.units) for slot in traced.filters]


def _producer(slot: ProducerSlot, units: IntArray, behind: FilterSlot | None = None) -> Producer:
    """The rows of a producer with what follows it, or follows the filters behind it."""
    weight = rows_of(slot)
    last = slot.node
    if behind is not None and np.array_equal(behind.made, slot.atoms):
        last = behind.node
    whole = _followed(Producer(label(slot.node), weight), last, len(weight))
    rows = _of_units(whole, positions(slot.atoms, units))
    if behind is None:
        return rows
    kernels = read(behind.place)[positions(behind.made, units)]
    return replace(rows, depthwise=kernels.reshape(len(units), -1))


def _filter(slot: FilterSlot, units: IntArray) -> Producer:
    """The filters of a grouped convolution as rows."""
    weight = read(slot.place)
    whole = _followed(Producer(label(slot.node), weight), slot.node, len(weight))
    return _of_units(whole, positions(slot.made, units))


def _followed(rows: Producer, node: ir.Node, width: int) -> Producer:
    """Rows with the bias of ``node`` and the normalisation of its ``width`` outputs.

    An instance norm takes the offset and the scale of a row away, whatever they are; it is
    multiplied into the rows.
    """
    rows = replace(rows, bias=added_bias(node, width))
    norm = only_reader((bias_node(node, width) or node).outputs[0])
    if norm is None or node.op_type == "MatMul":  # norms work on axis 1, not on a MatMul's last
        return rows
    if norm.op_type == "InstanceNormalization":
        found = _instance_norm(norm, rows)
        return rows if found is None else replace(rows, batchnorm=found).folded()
    found = _batchnorm(norm)
    if found is not None:
        return rows if len(found.gamma) != width else replace(rows, batchnorm=found)
    affine = _affine(norm, node, width)
    return rows if affine is None else replace(rows, batchnorm=affine).folded()


def _affine(reader: ir.Node | None, node: ir.Node, width: int) -> BatchNorm | None:
    """Factors and offsets a channel right behind a convolution: a batch norm written out, a bias.

    They are given as the batch norm that does the same to inputs of mean 0 and variance 1.
    """
    scale, shift = np.ones(width), np.zeros(width)
    value, rank = node.outputs[0], len(constants.shape(node.inputs[1]) or ())
    found = False
    while reader is not None and reader.op_type in ("Mul", "Add", "Sub", "Div"):
        place = Place(reader, 0 if reader.inputs[1] is value else 1)
        numbers = _per_channel(place, rank, width)
        if numbers is None or (place.index == 0 and reader.op_type in ("Sub", "Div")):
            break
        if reader.op_type in ("Mul", "Div"):
            factor = numbers if reader.op_type == "Mul" else 1 / numbers
            scale, shift = scale * factor, shift * factor
        else:
            shift = shift + (numbers if reader.op_type == "Add" else -numbers)
        found, value = True, reader.outputs[0]
        reader = only_reader(value)
    if not found or not np.isfinite(scale).all():
        return None
    return BatchNorm(scale, shift, np.zeros(width), np.ones(width), 0.0)


def _per_channel(place: Place, rank: int, width: int) -> FloatArray | None:
    """A constant with one number in all, or one a channel on axis 1 of ``rank``."""
    shape = constants.shape(place.value)
    if shape is None or not constants.is_float(place.value):
        return None
    aligned = (1,) * (rank - len(shape)) + shape
    if len(aligned) != rank or int(np.prod(aligned)) not in (1, aligned[1]):
        return None
    return np.broadcast_to(read(place).reshape(-1), width) if aligned[1] in (1, width) else None


def _of_units(whole: Producer, owned: IntArray) -> Producer:
    """The rows of each unit; where a unit has several, they are put side by side."""
    if owned.shape[1] == 1:
        rows = owned[:, 0]
        norm = whole.batchnorm
        if norm is not None:
            norm = BatchNorm(
                norm.gamma[rows], norm.beta[rows], norm.mean[rows], norm.var[rows], norm.eps
            )
        return replace(
            whole,
            weight=whole.weight[compact(rows, len(whole.weight))],
            bias=None if whole.bias is None else whole.bias[rows],
            batchnorm=norm,
        )
    folded = whole.folded()
    # Each row keeps its bias beside it, so that blocks are compared with their biases.
    columns = [folded.weight.reshape(len(folded.weight), -1)]
    if folded.bias is not None:
        columns.append(folded.bias[:, None])
    weight = np.concatenate(columns, axis=1)[owned].reshape(len(owned), -1)
    convolution = whole.weight.ndim > 2
    return Producer(whole.name, weight[:, :, None] if convolution else weight)


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
    if not gamma.shape == beta.shape == mean.shape == var.shape:
        return None
    return BatchNorm(gamma, beta, mean, var, attribute(node, "epsilon", 1e-5))


def _instance_norm(node: ir.Node, rows: Producer) -> BatchNorm | None:
    """An instance norm as the batch norm that does the same to inputs of unit variance."""
    arrays = [constants.array(value) for value in node.inputs[1:3]]
    if any(found is None for found in arrays):
        return None
    gamma, beta = (computable(found) for found in arrays if found is not None)
    if len(gamma) != len(rows.weight):
        return None
    power = np.square(rows.weight.reshape(len(gamma), -1)).sum(1)
    mean = np.zeros_like(beta) if rows.bias is None else np.asarray(rows.bias)
    return BatchNorm(gamma, beta, mean, power, attribute(node, "epsilon", 1e-5))
