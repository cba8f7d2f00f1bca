"""Transposes of constant weights, folded into the weights.

Some exporters write a linear layer as a product with ``Transpose(W)``. With the transposed weight
stored instead, channels can be removed from it, and the graph computes the same with a node less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.quantisation import marks
from nmcore_onnx.trace import operators


def foldable(graph: ir.Graph) -> list[str]:
    """Return the names of all constants that only weighted nodes read, behind equal Transposes."""
    return [
        name
        for name, weight in graph.initializers.items()
        if _common_order(weight) is not None
        and constants.is_float(weight)
        and all(transpose.graph is graph for transpose, _ in weight.uses())
        and all(
            _reads_weight(graph, reader, index)
            for transpose, _ in weight.uses()
            for reader, index in transpose.outputs[0].uses()
        )
    ]


def fold_transposes(graph: ir.Graph, names: Iterable[str]) -> None:
    """Store some of what :func:`foldable` names transposed, and remove the Transposes."""
    for name in names:
        weight = graph.initializers[name]
        order, tensor = _common_order(weight), constants.tensor(weight)
        assert order is not None
        assert tensor is not None
        data = _transposed(tensor, order, name)
        for transpose, _ in list(weight.uses()):
            ir.convenience.replace_all_uses_with(transpose.outputs[0], weight)
            graph.remove(transpose, safe=True)
        weight.const_value, weight.shape = data, data.shape
        weight.meta[marks.ORDER] = order


def _transposed(tensor: ir.TensorProtocol, order: Sequence[int], name: str) -> ir.LazyTensor:
    """The tensor, transposed whenever it is read and not held in between."""
    sizes = [int(tensor.shape.numpy()[axis]) for axis in order]

    def compute() -> ir.TensorProtocol:
        return ir.Tensor(np.ascontiguousarray(np.transpose(tensor.numpy(), order)))

    return ir.LazyTensor(compute, tensor.dtype, ir.Shape(sizes), name=name)


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
    order = tuple(node.attributes["perm"].as_ints())
    # An invalid order is left for the runtime to report.
    return order if len(order) == rank else None


def _reads_weight(graph: ir.Graph, node: ir.Node, index: int) -> bool:
    operator = operators.find(node)
    return (
        node.graph is graph
        and isinstance(operator, operators.Weighted)
        and index == operator.weight_input
    )
