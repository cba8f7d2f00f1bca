"""What is asked of a consumer: its width, what else it reads, and the batch norm behind it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from nmcore.group import BatchNorm, FloatArray, IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.arrays import computable
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import attribute, only_reader
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.groups import TracedGroup
from nmcore_onnx.trace.slots import ConsumerSlot


def norm_scale(
    node: ir.Node, width: int, statistics: Mapping[Place, FloatArray], shapes: Shapes
) -> FloatArray | None:
    """What a batch norm right behind a node multiplies its ``width`` outputs by, or None.

    Shape (width,). ``statistics`` are running variances to use instead of the model's own.
    """
    operator = operators.weighted(node)
    # Batch norms work on axis 1.
    behind = operator.made_axis(node, shapes) == 1
    norm = only_reader(operator.output(node)) if behind else None
    found = batch_norm(norm) if norm is not None else None
    if norm is None or found is None:
        return None
    var = statistics.get(Place(norm, 4), found.var)
    if len(found.gamma) != width:
        return None
    scale: FloatArray = found.gamma / np.sqrt(var + found.eps)
    return scale


def batch_norm(node: ir.Node) -> BatchNorm | None:
    """The parameters of a batch norm; None where they are not constant, or it is none."""
    if node.op_type != "BatchNormalization":
        return None
    arrays = [constants.array(value) for value in node.inputs[1:5]]
    if any(found is None for found in arrays):
        return None
    gamma, beta, mean, var = (computable(found) for found in arrays if found is not None)
    if not gamma.shape == beta.shape == mean.shape == var.shape:
        return None
    return BatchNorm(gamma, beta, mean, var, attribute(node, "epsilon", 1e-5))


def offset(slot: ConsumerSlot, first: ConsumerSlot, alive: IntArray) -> FloatArray | None:
    """By how much the bias of a node is above that of another; None where the two are the same.

    Shape (O,), of the outputs ``alive``.
    """
    width = slot.width
    mine, other = (
        operators.weighted(each.node).bias(each.node, width, each.place.index)
        for each in (slot, first)
    )
    if slot is first or (mine is None and other is None):
        return None
    zeros = np.zeros(width, np.float32)
    found = (zeros if mine is None else mine) - (zeros if other is None else other)
    return found[alive] if found.any() else None


def is_partial(group: TracedGroup, slot: ConsumerSlot) -> bool:
    """Whether a consumer reads more than the group's channels."""
    return not np.isin(slot.source_atoms, group.units).all()
