"""Weights that a graph turns before it uses them, stored as their readers want them.

Some exporters write a linear layer as a product with ``Transpose(W)``. Turned once and for all the
weight is one that channels can be removed from, and the graph computes the same with a node less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nmcore_onnx import constants

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def turn_weights(graph: ir.Graph) -> None:
    """Turn every constant that only weighted nodes read, all behind equal Transposes."""
    for weight in list(graph.initializers.values()):
        order = _common_order(weight)
        if order is None or not constants.is_float(weight):
            continue
        turns = [use.node for use in weight.uses()]
        readers = [use for turn in turns for use in turn.outputs[0].uses()]
        if readers and all(_reads_weight(graph, node, index) for node, index in readers):
            _turn(graph, weight, order, turns)


def _common_order(weight: ir.Value) -> tuple[int, ...] | None:
    """How all readers of a constant order its axes, where all are Transposes that agree."""
    if weight.is_graph_output() or weight.is_graph_input():
        return None
    orders = {_order(use.node, len(constants.shape(weight) or ())) for use in weight.uses()}
    return orders.pop() if len(orders) == 1 else None


def _order(node: ir.Node, rank: int) -> tuple[int, ...] | None:
    if node.op_type != "Transpose" or node.domain not in ("", "ai.onnx"):
        return None
    if node.outputs[0].is_graph_output():
        return None
    if "perm" not in node.attributes:
        return tuple(reversed(range(rank)))
    return tuple(node.attributes["perm"].as_ints())


def _reads_weight(graph: ir.Graph, node: ir.Node, index: int) -> bool:
    return node.graph is graph and index == 1 and node.op_type in _WEIGHTED


def _turn(
    graph: ir.Graph, weight: ir.Value, order: tuple[int, ...], turns: Sequence[ir.Node]
) -> None:
    found = constants.array(weight)
    assert found is not None
    data = ir.Tensor(np.ascontiguousarray(np.transpose(found, order)), name=weight.name)
    for turn in turns:
        ir.convenience.replace_all_uses_with(turn.outputs[0], weight)
        graph.remove(turn, safe=True)
    weight.const_value, weight.shape = data, data.shape
