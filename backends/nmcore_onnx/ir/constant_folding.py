"""Constant folding of small expressions, such as padding that is computed in the graph."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.defaults import default

if TYPE_CHECKING:
    from nmcore_onnx.ir.types import Shapes

# Far above any chain of shape arithmetic, far below anything that takes time.
_MAX_NODES = 200
_MAX_ELEMENTS = 100_000
# What the steps of one expression may give together.
_MAX_COMPUTED = 2**22
# Sizes and bounds are remembered, tables are not.
_SMALL = 1000

Array = NDArray[Any]


def fold(value: ir.Value | None, shapes: Shapes | None = None) -> Array | None:
    """The value of a constant expression; None where it depends on an input or is not small.

    The operators are evaluated by ONNX's own reference implementation. Where ``shapes`` are known,
    a value that is computed from some of them is taken for one that depends on an input: that
    spares a walk through the network to what they are the shapes of.
    """
    return Folded().value(value, shapes)


class Folded:
    """Constant expressions of one graph; what several have in common is evaluated once.

    Parameters
    ----------
    most : int, optional
        How many elements one expression may read and give.
    """

    def __init__(self, most: int | None = None) -> None:
        self._known: dict[str, Array] = {}
        self._limits = (_MAX_ELEMENTS, _MAX_COMPUTED) if most is None else (most, most)

    def set(self, value: ir.Value, array: Array) -> None:
        """Take a value as known, whatever it is computed from."""
        self._known[str(value.name)] = array

    def forget(self, value: ir.Value) -> None:
        """Know nothing of a value any more."""
        self._known.pop(str(value.name), None)

    def value(self, value: ir.Value | None, shapes: Shapes | None = None) -> Array | None:
        """As :func:`fold`; constants may only be added to the graph in between, not changed."""
        if value is None:
            return None
        if (constant := constants.array(value)) is not None:
            return constant
        name = str(value.name)
        nodes = [] if name in self._known else _ancestors(value, shapes, self._known)
        if nodes is None or (shapes and any(_is_measured(node, shapes) for node in nodes)):
            return None
        computed = _evaluate(nodes, self._known, self._limits)
        if computed is None:
            return None
        self._known |= {each: array for each, array in computed.items() if array.size <= _SMALL}
        return computed.get(name, self._known.get(name))


# The lengths to try for each dynamic axis: the shortest, which bounds from below lift, and two that
# bounds from above cut off, and whose difference is prime, so that no small divisor leaves the same
# rest of both.
_TRIALS = (1, 1_000_003, 2_000_006)


def static(value: ir.Value | None, shapes: Shapes) -> Array | None:
    """The value of an expression of constants and of static sizes of other values, or None.

    Exporters write half of the channels as Shape, Gather and Div. The expression is evaluated for
    several lengths of every dynamic axis; it is static where these make no difference.
    """
    found = _tried(value, shapes)
    if found is None or any(not np.array_equal(found[0], each) for each in found[1:]):
        return None
    return found[0]


def static_entries(value: ir.Value | None, shapes: Shapes) -> list[int | None] | None:
    """As :func:`static`, entry by entry; None for those that depend on dynamic sizes.

    The padding of windows is computed from a picture's sides, while that of channels stays 0.
    """
    found = _tried(value, shapes)
    if found is None or len({each.shape for each in found}) > 1:
        return None
    columns = zip(*(each.ravel().tolist() for each in found), strict=True)
    return [int(column[0]) if len(set(column)) == 1 else None for column in columns]


def _tried(value: ir.Value | None, shapes: Shapes) -> list[Array] | None:
    """What an expression gives for each trial; a single one where no size matters."""
    if value is None:
        return None
    plain = constants.array(value)
    if plain is not None:
        return [plain]
    nodes = _ancestors(value, shapes)
    if nodes is None:
        return None
    measured = [node for node in nodes if _is_measured(node, shapes)]
    rest = [node for node in nodes if node not in measured]
    found: list[Array] = []
    for trial in _TRIALS if measured else _TRIALS[:1]:
        sizes = {str(node.outputs[0].name): sizes_given(node, shapes, trial) for node in measured}
        computed = _evaluate(rest, sizes)
        result = None if computed is None else (sizes | computed).get(str(value.name))
        if result is None:
            return None
        found.append(result)
    return found


def _is_measured(node: ir.Node, shapes: Shapes) -> bool:
    """Whether a node gives the sizes of a value whose shape is known."""
    return (
        node.op_type == "Shape"
        and (measured := node.inputs[0]) is not None
        and default(measured) is None
        and measured.name in shapes
    )


def sizes_given(node: ir.Node, shapes: Shapes, trial: int = 0) -> Array:
    """What a Shape node gives, with made-up lengths from ``trial`` on for dynamic axes, all of them
    different.
    """
    assert node.inputs[0] is not None
    shape = shapes[str(node.inputs[0].name)]
    numbers = [size if isinstance(size, int) else trial + 2 * k for k, size in enumerate(shape)]
    start = node.attributes["start"].as_int() if "start" in node.attributes else 0
    end = node.attributes["end"].as_int() if "end" in node.attributes else len(shape)
    return np.array(numbers[start:end], np.int64)


def _evaluate(
    nodes: list[ir.Node],
    known: Mapping[str, Array],
    limits: tuple[int, int] = (_MAX_ELEMENTS, _MAX_COMPUTED),
) -> dict[str, Array] | None:
    """Run nodes, in order, by the reference implementation: what they read and give, by name.

    ``limits`` are how many elements each constant and all values together may have.
    """
    arrays: dict[str, Array] = {}
    for leaf in (feed for node in nodes for feed in node.inputs if feed is not None):
        if leaf.name and leaf.name in known:
            arrays[leaf.name] = known[leaf.name]
        elif (tensor := default(leaf)) is not None:
            if tensor.size > limits[0]:
                return None
            arrays[str(leaf.name)] = tensor.numpy()
    try:
        for node in nodes:
            if not _step(node, arrays, limits[1]):
                return None
    except Exception:  # an operator that the reference does not implement: not foldable
        return None
    return arrays


# What these give is no larger than what they read, though how large cannot be told before.
_SHRINKING = frozenset(("NonZero", "Compress", "Unique"))
# The steps of nearly all shape arithmetic. What they give has at most as many elements as the
# product of the numbers of elements that they read, or as their sum.
_ELEMENTWISE = ("Add", "Cast", "Div", "Equal", "Floor", "Identity", "Mul", "Sub", "Where")
_MOVING = ("Concat", "Gather", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
_REDUCING = ("ReduceProd", "Shape", "Size")
_BOUNDED = frozenset((*_ELEMENTWISE, *_MOVING, *_REDUCING))
# Subgraphs may loop without end.
_SUBGRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
_UNKNOWN = 2**62


def _step(node: ir.Node, arrays: dict[str, Array], most: int) -> bool:
    """Add what a node gives to ``arrays``; False where it may be large or take its time.

    A few bytes of a file can ask for terabytes (ConstantOfShape, Tile, sixty times Concat), so the
    sizes are inferred before anything is computed.
    """
    if node.op_type == "Constant" and (array := constants.array(node.outputs[0])) is not None:
        arrays[str(node.outputs[0].name)] = array
        return True
    if has_subgraphs(node):
        return False
    alone = _alone(node)
    feeds = {
        name: arrays[str(feed.name)]
        for name, feed in zip(alone.input, node.inputs, strict=True)
        if feed is not None
    }
    opsets = _opsets(node)
    held = sum(array.size for array in arrays.values())
    if held + _most(alone, opsets, feeds) > most:
        return False
    results = _evaluator(alone.SerializeToString(), tuple(opsets.items())).run(None, feeds)
    names = [str(output.name) for output in node.outputs if output.name]
    arrays.update(zip(names, map(np.asarray, results), strict=True))
    return True


def _alone(node: ir.Node) -> onnx.NodeProto:
    """A node with names that tell nothing of the graph around it, so that like nodes are equal."""
    proto = ir.serde.serialize_node(node)
    proto.ClearField("name")
    proto.ClearField("doc_string")
    proto.ClearField("metadata_props")
    for names, letter in ((proto.input, "i"), (proto.output, "o")):
        for number, name in enumerate(names):
            names[number] = f"{letter}{number}" if name else ""
    return proto


# Evaluators take longer to be made than to run, and models repeat the same steps in every block.
@lru_cache(maxsize=256)
def _evaluator(node: bytes, opsets: tuple[tuple[str, int], ...]) -> ReferenceEvaluator:
    proto = onnx.NodeProto.FromString(node)
    return ReferenceEvaluator(_graph(proto, {}), opsets=dict(opsets))


def _graph(node: onnx.NodeProto, constant: Mapping[str, Array]) -> onnx.GraphProto:
    """A graph of one node, some of whose inputs are constants."""
    typeless = onnx.helper.make_empty_tensor_value_info
    return onnx.helper.make_graph(
        [node],
        "constant",
        [typeless(name) for name in node.input if name and name not in constant],
        [typeless(name) for name in node.output if name],
        [onnx.numpy_helper.from_array(array, name) for name, array in constant.items()],
    )


def _most(node: onnx.NodeProto, opsets: Mapping[str, int], feeds: Mapping[str, Array]) -> int:
    """How many elements a node may give at most."""
    if node.op_type in _SHRINKING:
        return 0
    sizes = [array.size for array in feeds.values()]
    if node.op_type in _BOUNDED and (bound := max(math.prod(sizes), sum(sizes))) <= _SMALL:
        return bound
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = onnx.helper.make_model(_graph(node, feeds), opset_imports=imports)
    return _size(list(onnx.shape_inference.infer_shapes(model).graph.output))


def _size(values: list[onnx.ValueInfoProto]) -> int:
    """How many elements values hold together; too many where that is not known."""
    types = [value.type.tensor_type for value in values]
    if not all(kind.HasField("shape") for kind in types):
        return _UNKNOWN
    shapes = [kind.shape.dim for kind in types]
    if not all(size.HasField("dim_value") for shape in shapes for size in shape):
        return _UNKNOWN
    return sum(math.prod(int(size.dim_value) for size in shape) for shape in shapes)


def is_constant(value: ir.Value | None, *, defaults: bool = False) -> bool:
    """Whether a value is a constant or computed from nothing but constants.

    With ``defaults``, inputs that a caller may set count as constants.
    """
    return value is not None and (
        constants.tensor(value) is not None or _ancestors(value, defaults=defaults) is not None
    )


def folded_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of a constant or of a constant expression; None where it is neither."""
    known = constants.shape(value)
    if known is not None:
        return known
    found = fold(value)
    return None if found is None else found.shape


def _opsets(node: ir.Node) -> dict[str, int]:
    graph = node.graph
    return dict(graph.opset_imports) if isinstance(graph, ir.Graph) else {"": 17}


def is_fixed(value: ir.Value | None, fixed: Container[ir.Value]) -> bool:
    """Whether an input is missing, a constant, or one of those that are known to be fixed."""
    return value is None or default(value) is not None or value in fixed


def has_subgraphs(node: ir.Node) -> bool:
    """Whether a node, like If and Loop, runs graphs of its own."""
    return any(attribute.type in _SUBGRAPHS for attribute in node.attributes.values())


_DRAWN = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
_RANDOM = frozenset(("Bernoulli", "Multinomial", *_DRAWN))


def is_random(node: ir.Node) -> bool:
    """Whether a node gives something else each time."""
    return node.op_type in _RANDOM


def _ancestors(
    value: ir.Value,
    shapes: Shapes | None = None,
    done: Container[str] = (),
    *,
    defaults: bool = False,
) -> list[ir.Node] | None:
    """All nodes a value is computed from, in order; None where an input of the graph is one.

    Where ``shapes`` are known, what a Shape node reads does not count, nor what makes values that
    are ``done`` already.
    """
    found: dict[ir.Node, None] = {}
    opened: set[ir.Node] = set()
    stack = [(value, False)]
    while stack:
        current, closing = stack.pop()
        if current.name in done:
            continue
        node = current.producer()
        if node is None:
            if (current.const_value if defaults else default(current)) is None:
                return None
            continue
        if closing:
            found[node] = None
        elif node not in opened:
            opened.add(node)
            if len(opened) > _MAX_NODES or node.op_type in _RANDOM:
                return None
            stack.append((current, True))
            if shapes and _is_measured(node, shapes):
                continue
            stack += [(feed, False) for feed in node.inputs if feed is not None]
    return list(found)
