"""What follows a producer directly: its bias and its normalisation, wherever exporters put them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from nmcore.group import BatchNorm, FloatArray, IntArray, Producer
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.arrays import compact, computable, read
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import attribute, label, only_reader
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.consumers import batch_norm
from nmcore_onnx.trace.groups import TracedGroup, positions
from nmcore_onnx.trace.slots import FilterSlot, ProducerSlot

# Operators of two inputs that multiply by a factor or add an offset; onnxruntime's own give a Gelu
# of the sum.
_GELUS = ("BiasGelu", "FastGelu")
_OFFSETS = ("Mul", "Add", "Sub", "Div", *_GELUS)


def producers(traced: TracedGroup, shapes: Shapes) -> list[Producer]:
    """All weights whose rows make the channels of a group.

    A convolution and a depthwise one behind it count as one; where several weights make the
    channels together, a grouped convolution on the way is one more whose rows must be alike.
    """
    rows = [positions(slot.atoms, traced.units) for slot in traced.producers]
    if len(traced.producers) == len(traced.filters) == 1 == rows[0].shape[1]:
        return [_producer(traced.producers[0], traced.units, shapes, traced.filters[0])]
    found = [_producer(slot, traced.units, shapes) for slot in traced.producers]
    return found + [_filter(slot, traced.units, shapes) for slot in traced.filters]


def _producer(
    slot: ProducerSlot, units: IntArray, shapes: Shapes, behind: FilterSlot | None = None
) -> Producer:
    """The rows of a producer with what follows it, or follows the filters behind it."""
    weight = operators.weighted(slot.node).rows(slot)
    last = slot.node
    if behind is not None and np.array_equal(behind.made, slot.atoms):
        last = behind.node
    whole = _followed(Producer(label(slot.node), weight), last, len(weight), shapes)
    rows = _of_units(whole, positions(slot.atoms, units))
    if behind is None:
        return rows
    kernels = read(behind.place)[positions(behind.made, units)]
    return replace(rows, depthwise=kernels.reshape(len(units), -1))


def _filter(slot: FilterSlot, units: IntArray, shapes: Shapes) -> Producer:
    """The filters of a grouped convolution as rows."""
    weight = read(slot.place)
    whole = _followed(Producer(label(slot.node), weight), slot.node, len(weight), shapes)
    return _of_units(whole, positions(slot.made, units))


def _followed(rows: Producer, node: ir.Node, width: int, shapes: Shapes) -> Producer:
    """Rows with the bias of ``node`` and the normalisation of its ``width`` outputs.

    An instance norm takes the offset and the scale of a row away, whatever they are; it is
    multiplied into the rows.
    """
    operator = operators.weighted(node)
    rows = replace(rows, bias=operator.offsets(node, width))
    norm, axis = only_reader(operator.output(node)), operator.made_axis(node, shapes)
    if norm is None or axis is None:
        return rows
    if norm.op_type in ("InstanceNormalization", "BatchNormalization") and axis != 1:
        return rows
    if norm.op_type == "InstanceNormalization":
        found = _instance_norm(norm, rows)
        return rows if found is None else replace(rows, batchnorm=found).folded()
    found = batch_norm(norm)
    if found is not None:
        return rows if len(found.gamma) != width else replace(rows, batchnorm=found)
    affine = _affine(norm, node, axis, width, shapes)
    return rows if affine is None else replace(rows, batchnorm=affine).folded()


def _affine(
    reader: ir.Node | None, node: ir.Node, axis: int, width: int, shapes: Shapes
) -> BatchNorm | None:
    """Factors and offsets a channel right behind a layer: a batch norm written out, a bias.

    They are given as the batch norm that does the same to inputs of mean 0 and variance 1.
    """
    scale, shift = np.ones(width), np.zeros(width)
    operator = operators.weighted(node)
    output = shapes.get(node.outputs[0].name or "")
    # Convolutions and Gemms give values of as many axes as their weights have.
    rank = len(
        (constants.shape(node.inputs[operator.weight_input]) if output is None else output) or ()
    )
    value = operator.output(node)
    found = False
    while reader is not None and reader.op_type in _OFFSETS and len(reader.inputs) == 2:
        place = Place(reader, 0 if reader.inputs[1] is value else 1)
        numbers = _per_channel(place, rank, axis, width)
        if numbers is None or (place.index == 0 and reader.op_type not in ("Add", "Mul")):
            break
        if reader.op_type in ("Mul", "Div"):
            factor = numbers if reader.op_type == "Mul" else 1 / numbers
            scale, shift = scale * factor, shift * factor
        else:
            shift = shift + (-numbers if reader.op_type == "Sub" else numbers)
        found, value = True, reader.outputs[0]
        reader = None if reader.op_type in _GELUS else only_reader(value)
    if not found or not np.isfinite(scale).all():
        return None
    return BatchNorm(scale, shift, np.zeros(width), np.ones(width), 0.0)


def _per_channel(place: Place, rank: int, axis: int, width: int) -> FloatArray | None:
    """A constant with one number in all, or one a channel on ``axis`` of ``rank``."""
    shape = constants.shape(place.value)
    if shape is None or not constants.is_float(place.value):
        return None
    aligned = (1,) * (rank - len(shape)) + shape
    if len(aligned) != rank or int(np.prod(aligned)) not in (1, aligned[axis]):
        return None
    return np.broadcast_to(read(place).reshape(-1), width) if aligned[axis] in (1, width) else None


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
