"""What a model weighs: operators, parameters, multiply-accumulates."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from nmcore.group import Cost, IntArray, Term
from nmcore.runnable import assumed_shape
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import label
from nmcore_onnx.ir.types import Dim, Shapes
from nmcore_onnx.shapes.per_node import Sizing
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.groups import TracedGroup
from nmcore_onnx.trace.slots import ConsumerSlot, ProducerSlot, Slot


def assumed_shapes(model: ir.Model) -> Shapes:
    """The shapes of a model's values for one sample; see :func:`assumed_inputs`."""
    return Sizing(model).shapes(assumed_inputs(model))


def cost(model: ir.Model, known: Shapes) -> Cost:
    """Count a model's operators, its weights, and the multiply-accumulates of one sample, whose
    shapes are known from :func:`assumed_shapes`.
    """
    nodes = list(RecursiveGraphIterator(model.graph))
    assumed = assumed_inputs(model)
    counts = {node: _node_macs(node, known) for node in model.graph}
    uncounted = tuple(label(node) for node, count in counts.items() if count is None)
    return Cost(
        len(nodes),
        _params(model, nodes),
        None if uncounted else sum(count for count in counts.values() if count),
        {name: assumed[name] for name in _open_inputs(model)},
        uncounted,
    )


def terms(
    model: ir.Model, trace: Trace, groups: Sequence[TracedGroup], known: Shapes
) -> list[Term]:
    """The parts of the cost that depend on how many channels each group keeps."""
    owner = {int(atom): item.group.name for item in groups for atom in item.units}
    axes: dict[Place, dict[int, Shares]] = defaultdict(dict)
    slots: list[Slot | ProducerSlot | ConsumerSlot]
    readers = [twin for slot in trace.consumers for twin in slot.all]
    slots = [*trace.producers, *readers, *trace.slots]
    for slot in slots:
        axes[slot.place][slot.axis] = _shares(slot.atoms, owner)
    result: list[Term] = []
    stored: list[tuple[ir.Value | None, dict[int, Shares]]] = []
    for place, of_axis in axes.items():
        size = math.prod(constants.shape(place.value) or (0,))
        constant = (constants.source(place.value), of_axis)
        if constant in stored:  # Several nodes read it and lose the same: it is stored once.
            size = 0
        stored.append(constant)
        counted = place.index == 1 and place.node.op_type in _COUNTERS
        macs = (_node_macs(place.node, known) or 0) if counted else 0
        result += _terms(macs, size, list(of_axis.values()))
    for node in model.graph:
        channels = trace.channels.get(node.outputs[0]) if node.op_type in _PRODUCTS else None
        if channels is not None and constants.tensor(node.inputs[1]) is None:
            result += _terms(_node_macs(node, known) or 0, 0, [_shares(channels.atoms, owner)])
    return result


# Operators that multiply what the model computes; channels pass them whole.
_PRODUCTS = ("MatMul", "Attention")

# The share of an axis that each group owns; None stands for what no group does.
Shares = dict[str | None, float]


def _shares(atoms: IntArray, owner: Mapping[int, str]) -> Shares:
    counts = Counter(owner.get(atom) for atom in atoms.tolist())
    return {name: count / len(atoms) for name, count in counts.items()}


def _terms(macs: int, size: int, axes: Sequence[Shares]) -> Iterator[Term]:
    """One term for each combination of groups that own parts of the axes."""
    for parts in product(*(shares.items() for shares in axes)):
        names = tuple(sorted(name for name, _ in parts if name is not None))
        share = math.prod(share for _, share in parts)
        if names:
            yield Term(macs * share, size * share, names)


def rows(node: ir.Node, known: Shapes) -> int:
    """How many output positions a weighted node has for one sample; 1 where that is unknown."""
    out = known.get(node.outputs[0].name or "", ())
    sizes = out[2:] if node.op_type in ("Conv", "ConvTranspose") else out[1:-1]
    return math.prod(dim for dim in sizes if isinstance(dim, int))


def assumed_inputs(model: ir.Model) -> dict[str, tuple[int, ...]]:
    """The shape assumed for each input: one sample, and a default for other dynamic axes."""
    return {name: assumed_shape(shape) for name, shape in _declared_inputs(model)}


def _open_inputs(model: ir.Model) -> Iterator[str]:
    """The inputs of which more than the number of samples is left open."""
    for name, shape in _declared_inputs(model):
        if None in shape[1:]:
            yield name


def _declared_inputs(model: ir.Model) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    """Inputs and their shapes, with None for dynamic axes."""
    for value in model.graph.inputs:
        if value.shape is not None and value.const_value is None and value.name:
            sizes = (dim if isinstance(dim, int) and dim > 0 else None for dim in value.shape)
            yield value.name, tuple(sizes)


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


def _attention(node: ir.Node, sizes: list[Known], out: Known) -> int:
    """Each query meets each key, and each output element sums over the values of all keys."""
    query, key = sizes[:2]
    if query is None or key is None or out is None:
        raise TypeError
    return (_product(query) + _product(out)) * _product((key[-2],))


def _einsum(node: ir.Node, sizes: list[Known], out: Known) -> int:
    """Every combination of the indices is one product: all their lengths, each index once.

    Terms that are alone multiply nothing.
    """
    terms = node.attributes["equation"].as_string().replace(" ", "").split("->")[0].split(",")
    lengths: dict[str | int, int] = {}
    for term, shape in zip(terms, sizes, strict=True):
        if shape is None:
            raise TypeError
        for index, dim in zip(_indices(term, len(shape)), shape, strict=True):
            # Only axes behind an ellipsis may differ, by a length of 1 that is stretched.
            lengths[index] = max(lengths.get(index, 1), _product((dim,)))
    return math.prod(lengths.values()) if len(terms) > 1 else 0


def _indices(term: str, rank: int) -> list[str | int]:
    """The index of every axis; those behind an ellipsis are counted from its end."""
    before, dots, behind = term.partition("...")
    hidden = range(rank - len(before) - len(behind), 0, -1) if dots else ()
    return [*before, *hidden, *behind]


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
    "Attention": _attention,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
