"""What a model weighs: operators, parameters, multiply-accumulates."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from nmcore.data import IMAGE_SIZE, SEQUENCE_SIZE
from nmcore.group import Cost, Term
from nmcore_onnx import constants, shapes
from nmcore_onnx.constants import Place
from nmcore_onnx.shapes import Dim, Shapes
from nmcore_onnx.trace import ConsumerSlot, ProducerSlot, Slot, Trace, TracedGroup


def cost(model: ir.Model) -> Cost:
    """Count a model's operators, its weights, and the multiply-accumulates of one sample."""
    nodes = list(RecursiveGraphIterator(model.graph))
    known = shapes.infer(model, assumed_inputs(model))
    return Cost(len(nodes), _params(model, nodes), _macs(model.graph, known))


def terms(model: ir.Model, trace: Trace, groups: Sequence[TracedGroup]) -> list[Term]:
    """The parts of the cost that depend on how many channels each group keeps."""
    owner = {int(atom): item.group.name for item in groups for atom in item.atoms}
    known = shapes.infer(model, assumed_inputs(model))
    places: dict[Place, set[str]] = defaultdict(set)
    nodes: dict[ir.Node, set[str]] = defaultdict(set)
    weights: list[Slot | ProducerSlot | ConsumerSlot]
    weights = [*trace.producers, *trace.consumers, *trace.slots]
    for slot in weights:
        names = {owner[int(atom)] for atom in slot.atoms if int(atom) in owner}
        places[slot.place] |= names
        nodes[slot.place.node] |= names
    result = []
    for place, names in places.items():
        if names:
            size = math.prod(constants.shape(place.value) or ())
            result.append(Term(0, size, tuple(sorted(names))))
    for node, names in nodes.items():
        macs = _node_macs(node, known) if names else None
        if macs:
            result.append(Term(macs, 0, tuple(sorted(names))))
    return result


def rows(node: ir.Node, known: Shapes) -> int:
    """How many output positions a weighted node has for one sample; 1 where that is unknown."""
    out = known.get(node.outputs[0].name or "", ())
    sizes = out[2:] if node.op_type == "Conv" else out[1:-1]
    return math.prod(dim for dim in sizes if isinstance(dim, int))


def assumed_inputs(model: ir.Model) -> dict[str, tuple[int, ...]]:
    """The shape assumed for each input: one sample, and a default for other dynamic axes."""
    assumed = {}
    for value in model.graph.inputs:
        if value.shape is not None and value.const_value is None and value.name:
            assumed[value.name] = tuple(
                dim if isinstance(dim, int) and dim > 0 else _assumed(axis, len(value.shape))
                for axis, dim in enumerate(value.shape)
            )
    return assumed


def _assumed(axis: int, rank: int) -> int:
    if axis == 0:
        return 1
    return IMAGE_SIZE if rank == 4 else SEQUENCE_SIZE


def _params(model: ir.Model, nodes: list[ir.Node]) -> int:
    found = [
        value.const_value
        for graph in _graphs(model.graph, nodes)
        for value in graph.initializers.values()
    ]
    for node in nodes:
        attribute = node.attributes.get("value")
        if node.op_type == "Constant" and attribute is not None:
            found.append(attribute.as_tensor())
    return sum(item.size for item in found if item is not None and _is_weight(item))


def _is_weight(tensor: ir.TensorProtocol) -> bool:
    return tensor.dtype.is_floating_point() or tensor.dtype.bitwidth <= 8


def _graphs(main: ir.Graph, nodes: list[ir.Node]) -> Iterator[ir.Graph]:
    yield main
    for node in nodes:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield attribute.as_graph()
            elif attribute.type == ir.AttributeType.GRAPHS:
                yield from attribute.as_graphs()


def _macs(graph: ir.Graph, known: Shapes) -> int | None:
    """Multiply-accumulates of the main graph, or None where a size is unknown."""
    counts = [_node_macs(node, known) for node in graph]
    return None if None in counts else sum(count for count in counts if count)


def _node_macs(node: ir.Node, known: Shapes) -> int | None:
    """Multiply-accumulates of one node, or None where a size is unknown."""
    count = _COUNTERS.get(node.op_type)
    if count is None or node.domain not in ("", "ai.onnx"):
        return 0
    sizes = [known.get(value.name or "") if value else None for value in node.inputs]
    out = known.get(node.outputs[0].name or "")
    try:
        return count(node, sizes, out)
    except (TypeError, IndexError):  # an unknown shape, or an axis that has only a name
        return None


Known = tuple[Dim, ...] | None


def _product(dims: Known) -> int:
    assert dims is not None
    return math.prod(int(dim) if isinstance(dim, int) else _unknown() for dim in dims)


def _unknown() -> int:
    raise TypeError("an axis whose length is not known")


def _conv(node: ir.Node, sizes: list[Known], out: Known, weight: int = 1) -> int:
    """Each output element sums over one filter."""
    kernel = sizes[weight]
    if kernel is None or out is None:
        raise TypeError
    return _product(out) * _product(kernel[1:])


def _conv_transpose(node: ir.Node, sizes: list[Known], out: Known) -> int:
    """Each input element is spread over one filter."""
    data, kernel = sizes[:2]
    if kernel is None or data is None:
        raise TypeError
    return _product(data) * _product(kernel[1:])


def _matmul(node: ir.Node, sizes: list[Known], out: Known) -> int:
    """Each output element sums over the last axis of the left factor."""
    if sizes[0] is None or out is None:
        raise TypeError
    transposed = "transA" in node.attributes and node.attributes["transA"].as_int()
    return _product(out) * _product((sizes[0][-2 if transposed else -1],))


def _recurrent(node: ir.Node, sizes: list[Known], out: Known) -> int:
    """Each step multiplies the input and the state with their gates' weights."""
    data, weight, state = sizes[:3]
    if data is None or weight is None or state is None:
        raise TypeError
    return _product(data[:2]) * (_product(weight) + _product(state))


_COUNTERS: dict[str, Callable[[ir.Node, list[Known], Known], int]] = {
    "Conv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": lambda node, sizes, out: _conv(node, sizes, out, weight=3),
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearMatMul": _matmul,
    "Gemm": _matmul,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
