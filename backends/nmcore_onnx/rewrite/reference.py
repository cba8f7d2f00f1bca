"""The full-width twin of a compressed model: the proof that cutting changed nothing else.

Before each consumer of the *original* graph one linear map rebuilds the removed channels from the
kept ones through Z. Its outputs must equal those of the compressed model, which reaches them by
another way: absorbed weights and sliced tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray, Scaling
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.arrays import computable
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.rewrite.model_copy import Copy
from nmcore_onnx.trace.groups import TracedGroup
from nmcore_onnx.trace.slots import ConsumerSlot


def rebuild(copy: Copy, pairs: Sequence[tuple[TracedGroup, Scaling]]) -> ir.Model:
    """Let every consumer in a copy of the original read its channels rebuilt through Z."""
    for number, (traced, scaling) in enumerate(pairs):
        readers = [twin for slot in traced.consumers for twin in slot.all]
        for index, slot in enumerate(readers):
            _insert_map(
                copy.node(slot.node), slot, _map(traced, slot, scaling), f"{number}.{index}"
            )
    return copy.model


def _map(traced: TracedGroup, slot: ConsumerSlot, scaling: Scaling) -> FloatArray:
    """The (L, L) matrix that turns the consumer's input row into the rebuilt one."""
    owned = traced.positions(slot.atoms) + slot.start
    matrix = np.eye(len(slot.source_atoms))
    for tap in range(owned.shape[1]):
        matrix[np.ix_(owned[:, tap], owned[:, tap])] = 0
        matrix[np.ix_(owned[scaling.kept, tap], owned[:, tap])] = scaling.Z
    return matrix


def _insert_map(node: ir.Node, slot: ConsumerSlot, matrix: FloatArray, tag: str) -> None:
    """Put the map before a consumer: a matrix product, with the channel axis moved last."""
    graph, data = node.graph, node.inputs[0]
    assert isinstance(graph, ir.Graph)
    assert data is not None
    weight = constants.array(node.inputs[1])
    assert weight is not None
    rank = weight.ndim
    # A Transpose that moves nothing is more than a waste: older onnxruntimes fuse it into a Gemm
    # as if it turned its input.
    if node.op_type == "MatMul" or slot.source_axis == rank - 1:
        nodes = [_product(data, tag)]
    else:
        order = [axis for axis in range(rank) if axis != slot.source_axis] + [slot.source_axis]
        moved = ir.node("Transpose", [data], {"perm": order}, name=f"nmcore.moved.{tag}")
        mapped = _product(moved.outputs[0], tag)
        back = [order.index(axis) for axis in range(rank)]
        nodes = [moved, mapped, ir.node("Transpose", [mapped.outputs[0]], {"perm": back})]
    graph.insert_before(node, nodes)
    product = next(item for item in nodes if item.op_type == "MatMul")
    constants.insert(
        Place(product, 1),
        f"nmcore.z.{tag}",
        matrix.astype(computable(weight).dtype).astype(weight.dtype),
    )
    node.replace_input_with(0, nodes[-1].outputs[0])


def _product(data: ir.Value, tag: str) -> ir.Node:
    return ir.node("MatMul", [data, None], name=f"nmcore.rebuilt.{tag}")
