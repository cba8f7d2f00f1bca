"""Evaluating small constant expressions, such as padding that is computed in the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from nmcore_onnx import constants

# Far above any chain of shape arithmetic, far below anything that takes time.
_MAX_NODES = 200
_MAX_ELEMENTS = 100_000


def fold(value: ir.Value | None) -> NDArray[Any] | None:
    """The value of a constant expression; None where it depends on an input or is not small.

    The operators are evaluated by ONNX's own reference implementation.
    """
    if value is None:
        return None
    if constants.tensor(value) is not None:
        return constants.array(value)
    nodes = _ancestors(value)
    if nodes is None:
        return None
    leaves = {
        leaf.name: leaf
        for node in nodes
        for leaf in node.inputs
        if leaf is not None and leaf.const_value is not None
    }
    if any(leaf.const_value.size > _MAX_ELEMENTS for leaf in leaves.values() if leaf.const_value):
        return None
    graph = onnx.helper.make_graph(
        [ir.to_proto(node) for node in nodes],
        "constant",
        [],
        [onnx.helper.make_empty_tensor_value_info(value.name or "")],
        [onnx.numpy_helper.from_array(_numpy(leaf), name) for name, leaf in leaves.items()],
    )
    opsets = _opsets(nodes[0])
    try:
        (result,) = ReferenceEvaluator(graph, opsets=opsets).run(None, {})
    except Exception:  # an operator that the reference does not implement: not foldable
        return None
    return np.asarray(result)


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is a constant or computed from nothing but constants."""
    return value is not None and (
        constants.tensor(value) is not None or _ancestors(value) is not None
    )


def folded_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of a constant or of a constant expression; None where it is neither."""
    known = constants.shape(value)
    if known is not None:
        return known
    found = fold(value)
    return None if found is None else found.shape


def _numpy(value: ir.Value) -> NDArray[Any]:
    assert value.const_value is not None
    return value.const_value.numpy()


def _opsets(node: ir.Node) -> dict[str, int]:
    graph = node.graph
    return dict(graph.opset_imports) if isinstance(graph, ir.Graph) else {"": 17}


def _ancestors(value: ir.Value) -> list[ir.Node] | None:
    """All nodes a value is computed from, in order; None where an input of the graph is one."""
    found: dict[ir.Node, None] = {}
    stack = [(value, False)]
    while stack:
        current, done = stack.pop()
        node = current.producer()
        if node is None:
            if current.const_value is None:
                return None
            continue
        if done:
            found[node] = None
        elif node not in found:
            if len(found) > _MAX_NODES or node.op_type.startswith("Random"):
                return None
            stack.append((current, True))
            stack += [(feed, False) for feed in node.inputs if feed is not None]
    return list(found)
