"""Evaluating small constant expressions, such as padding that is computed in the graph."""

from __future__ import annotations

from collections.abc import Mapping
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


Array = NDArray[Any]


def fold(value: ir.Value | None) -> Array | None:
    """The value of a constant expression; None where it depends on an input or is not small.

    The operators are evaluated by ONNX's own reference implementation.
    """
    if value is None:
        return None
    if constants.tensor(value) is not None:
        return constants.array(value)
    nodes = _ancestors(value)
    return None if nodes is None else _evaluate(value, nodes, {})


# Two lengths to try for each dynamic axis, far from any that a model has.
_TRIALS = (1_000_003, 2_000_029)


def static(value: ir.Value | None, shapes: Mapping[str, tuple[int | str, ...]]) -> Array | None:
    """The value of an expression of constants and of static sizes of other values, or None.

    Exporters write half of the channels as Shape, Gather and Div. The expression is evaluated for
    two lengths of every dynamic axis; it is static where these make no difference.
    """
    if value is None or (plain := fold(value)) is not None:
        return None if value is None else plain
    nodes = _ancestors(value, shapes)
    if nodes is None:
        return None
    found = []
    for trial in _TRIALS:
        sizes = {
            str(node.outputs[0].name): sizes_given(node, shapes, trial)
            for node in nodes
            if node.op_type == "Shape"
        }
        rest = [node for node in nodes if node.op_type != "Shape"]
        found.append(_evaluate(value, rest, sizes))
    one, other = found
    if one is None or other is None or not np.array_equal(one, other):
        return None
    return one


def sizes_given(
    node: ir.Node, shapes: Mapping[str, tuple[int | str, ...]], trial: int = 0
) -> Array:
    """What a Shape node gives, with made-up lengths from ``trial`` on for dynamic axes, all of them
    different.
    """
    assert node.inputs[0] is not None
    shape = shapes[str(node.inputs[0].name)]
    numbers = [size if isinstance(size, int) else trial + 2 * k for k, size in enumerate(shape)]
    start = node.attributes["start"].as_int() if "start" in node.attributes else 0
    end = node.attributes["end"].as_int() if "end" in node.attributes else len(shape)
    return np.array(numbers[start:end], np.int64)


def _evaluate(value: ir.Value, nodes: list[ir.Node], known: Mapping[str, Array]) -> Array | None:
    """Run nodes, in order, by the reference implementation."""
    leaves = {
        leaf.name: leaf
        for node in nodes
        for leaf in node.inputs
        if leaf is not None and leaf.const_value is not None
    }
    if any(leaf.const_value.size > _MAX_ELEMENTS for leaf in leaves.values() if leaf.const_value):
        return None
    if not nodes:
        return known.get(str(value.name))
    graph = onnx.helper.make_graph(
        [ir.to_proto(node) for node in nodes],
        "constant",
        [],
        [onnx.helper.make_empty_tensor_value_info(value.name or "")],
        [
            *(onnx.numpy_helper.from_array(_numpy(leaf), name) for name, leaf in leaves.items()),
            *(onnx.numpy_helper.from_array(array, name) for name, array in known.items()),
        ],
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


def _ancestors(
    value: ir.Value, shapes: Mapping[str, tuple[int | str, ...]] | None = None
) -> list[ir.Node] | None:
    """All nodes a value is computed from, in order; None where an input of the graph is one.

    Where ``shapes`` are known, what a Shape node reads does not count.
    """
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
            if node.op_type == "Shape" and shapes and node.inputs[0] is not None:
                if node.inputs[0].name not in shapes:
                    return None
                continue
            stack += [(feed, False) for feed in node.inputs if feed is not None]
    return list(found)
