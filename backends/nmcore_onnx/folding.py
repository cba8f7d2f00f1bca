"""Evaluating small constant expressions, such as padding that is computed in the graph."""

from __future__ import annotations

import math
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
# What the steps of one expression may give together.
_MAX_COMPUTED = 2**22


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
        str(leaf.name): leaf
        for node in nodes
        for leaf in node.inputs
        if leaf is not None and leaf.const_value is not None
    }
    if any(leaf.const_value.size > _MAX_ELEMENTS for leaf in leaves.values() if leaf.const_value):
        return None
    arrays = dict(known) | {name: _numpy(leaf) for name, leaf in leaves.items()}
    try:
        for node in nodes:
            if not _step(node, arrays):
                return None
    except Exception:  # an operator that the reference does not implement: not foldable
        return None
    return arrays.get(str(value.name))


# What these give is no larger than what they read, though how large cannot be told before.
_SHRINKING = ("NonZero", "Compress", "Unique")
# Subgraphs may loop for ever.
_SUBGRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
_UNKNOWN = _MAX_COMPUTED + 1


def _step(node: ir.Node, arrays: dict[str, Array]) -> bool:
    """Add what a node gives to ``arrays``; False where it may be large or take its time.

    A few bytes of a file can ask for terabytes (ConstantOfShape, Tile, sixty times Concat), so the
    sizes are inferred before anything is computed.
    """
    if any(attribute.type in _SUBGRAPHS for attribute in node.attributes.values()):
        return False
    opsets = _opsets(node)
    names = [str(output.name) for output in node.outputs if output.name]
    inputs = {str(feed.name): arrays[str(feed.name)] for feed in node.inputs if feed is not None}
    graph = onnx.helper.make_graph(
        [ir.to_proto(node)],
        "constant",
        [],
        [onnx.helper.make_empty_tensor_value_info(name) for name in names],
        [onnx.numpy_helper.from_array(array, name) for name, array in inputs.items()],
    )
    held = sum(array.size for array in arrays.values())
    if node.op_type not in _SHRINKING and held + _size(_inferred(graph, opsets)) > _MAX_COMPUTED:
        return False
    results = ReferenceEvaluator(graph, opsets=opsets).run(None, {})
    arrays.update(zip(names, map(np.asarray, results), strict=True))
    return True


def _inferred(graph: onnx.GraphProto, opsets: Mapping[str, int]) -> list[onnx.ValueInfoProto]:
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = onnx.helper.make_model(graph, opset_imports=imports)
    return list(onnx.shape_inference.infer_shapes(model).graph.output)


def _size(values: list[onnx.ValueInfoProto]) -> int:
    """How many elements values hold together; too many where that is not known."""
    types = [value.type.tensor_type for value in values]
    if not all(kind.HasField("shape") for kind in types):
        return _UNKNOWN
    shapes = [kind.shape.dim for kind in types]
    if not all(size.HasField("dim_value") for shape in shapes for size in shape):
        return _UNKNOWN
    return sum(math.prod(int(size.dim_value) for size in shape) for shape in shapes)


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
    opened: set[ir.Node] = set()
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
        elif node not in opened:
            opened.add(node)
            if len(opened) > _MAX_NODES or node.op_type.startswith("Random"):
                return None
            stack.append((current, True))
            if node.op_type == "Shape" and shapes and node.inputs[0] is not None:
                if node.inputs[0].name not in shapes:
                    return None
                continue
            stack += [(feed, False) for feed in node.inputs if feed is not None]
    return list(found)
