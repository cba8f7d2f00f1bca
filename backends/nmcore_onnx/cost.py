"""What a model weighs: operators, parameters, multiply-accumulates."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from nmcore.group import Cost, IntArray, Term
from nmcore.plugins import InputSpec, open_sizes
from nmcore.plugins.open_sizes import Stated
from nmcore.plugins.states import StateChange
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.bodies import bodies, walk
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import label
from nmcore_onnx.ir.types import Dim, Shapes
from nmcore_onnx.shapes.per_node import NodeInference, scanned
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.groups import TracedGroup
from nmcore_onnx.trace.operators.base import elements
from nmcore_onnx.trace.scores import TracedPair
from nmcore_onnx.trace.slots import ConsumerSlot, Past, ProducerSlot, Slot


def assumed_shapes(model: ir.Model, specs: Sequence[InputSpec]) -> Shapes:
    """The shapes of a model's values for one sample; see :func:`assumed_inputs`."""
    return NodeInference(model, defaults=True).shapes(assumed_inputs(specs))


def cost(model: ir.Model, known: Shapes, specs: Sequence[InputSpec]) -> Cost:
    """Count a model's operators, its weights, and the multiply-accumulates of one sample, whose
    shapes are known from :func:`assumed_shapes` of what :func:`inputs` says.
    """
    nodes = list(RecursiveGraphIterator(model.graph))
    assumed = assumed_inputs(specs)
    counts = {node: node_macs(node, known) for node in model.graph}
    uncounted = tuple(label(node) for node, count in counts.items() if count is None)
    inside = sum((node_macs(n, known) or 0) * times for n, times in _runs(model.graph, known))
    return Cost(
        len(nodes),
        _params(model, nodes),
        None if uncounted else inside,
        {spec.name: assumed[spec.name] for spec in open_sizes.guessed(specs)},
        uncounted,
        tuple(_remarks(model.graph, known)),
    )


def _remarks(graph: ir.Graph, known: Shapes) -> Iterator[str]:
    """How bodies that hold work are counted."""
    unknown: list[str] = []
    seen: set[str] = set()
    for node in walk(graph):
        for body in bodies(node):
            counts = {each: node_macs(each, known) for each in walk(body)}
            unknown += [label(each) for each, count in counts.items() if count is None]
            if not any(counts.values()):
                continue
            if node.op_type == "If" and "If" not in seen:
                yield "both branches of an If"
            elif node.op_type != "If" and _steps(node, body, known) is None:
                yield f"{node.op_type} {label(node)!r} once, as its steps are not known"
            seen.add(node.op_type)
    if unknown:
        left = len(dict.fromkeys(unknown))
        yield f"nothing for {left} nodes in bodies, whose sizes are unknown, {unknown[0]!r} first"


def _runs(graph: ir.Graph, known: Shapes, times: int = 1) -> Iterator[tuple[ir.Node, int]]:
    """Every node, and how often it runs: both branches of an If, and the body of a loop as often as
    constants and sizes tell, or once.
    """
    for node in graph:
        yield node, times
        for body in bodies(node):
            yield from _runs(body, known, times * (_steps(node, body, known) or 1))


# Exporters write the largest number there is for loops that end by a condition.
_MOST_STEPS = 2**31


def _steps(node: ir.Node, body: ir.Graph, known: Shapes) -> int | None:
    """How often a body runs where its node runs once; None where that is not known."""
    found: Dim | None = 1 if node.op_type == "If" else None
    if node.op_type == "Loop":
        given = constants.ints(node.inputs[0])
        found = given[0] if given else None
    for outer, _, axis in scanned(node, body):
        shape = known.get(outer.name or "", ()) if outer is not None else ()
        found = shape[axis] if -len(shape) <= axis < len(shape) else found
    return found if isinstance(found, int) and 0 < found < _MOST_STEPS else None


def terms(
    model: ir.Model,
    trace: Trace,
    groups: Sequence[TracedGroup],
    pairs: Sequence[TracedPair],
    known: Shapes,
) -> list[Term]:
    """The parts of the cost that depend on how many channels each group keeps, and each head."""
    owner = {int(atom): item.group.name for item in groups for atom in item.units}
    axes: dict[Place, dict[int, Shares]] = defaultdict(dict)
    slots: list[Slot | ProducerSlot | ConsumerSlot]
    readers = [twin for slot in trace.consumers for twin in slot.all]
    slots = [*trace.producers, *readers, *trace.slots]
    for slot in slots:
        axes[slot.place][slot.axis] = _shares(slot.atoms, owner)
    inside = {
        slot.place: each.pair.name for each in pairs for side in each.sides for slot in side.slots
    }
    for place in inside:
        axes[place]  # also where no group owns any of it
    runs = dict(_runs(model.graph, known))
    result: list[Term] = []
    stored: list[tuple[ir.Value | None, dict[int, Shares]]] = []
    for place, of_axis in axes.items():
        size = math.prod(constants.shape(place.value) or (0,))
        constant = (constants.source(place.value), of_axis)
        if constant in stored:  # Several nodes read it and lose the same: it is stored once.
            size = 0
        stored.append(constant)
        macs = (node_macs(place.node, known, place.index) or 0) * runs[place.node]
        result += _terms(macs, size, [*of_axis.values(), *_inner(inside.get(place))])
    scores = {each.scores: each for each in pairs}
    for node in runs:
        operator, channels = operators.find(node), trace.channels.get(node.outputs[0])
        if operator is None or not (operator.is_product(node) or node in scores):
            continue
        axes_of = [] if channels is None else [_shares(channels.atoms, owner)]
        macs = (node_macs(node, known) or 0) * runs[node]
        inner = _scores_share(scores[node], known) if node in scores else 0.0
        name = scores[node].pair.name if node in scores else None
        result += _terms(macs * inner, 0, [*axes_of, *_inner(name)])
        result += _terms(macs * (1 - inner), 0, axes_of)
    return result


def _inner(name: str | None) -> list[Shares]:
    """As an axis that all channels inside heads own."""
    return [] if name is None else [{name: 1.0}]


def _scores_share(traced: TracedPair, known: Shapes) -> float:
    """The share of a node's work that shrinks with queries and keys: the rest sums values."""
    node = traced.scores
    if node.op_type not in _WITH_VALUES:
        return 1.0
    query, output = node.inputs[0], node.outputs[0]
    assert query is not None
    try:
        parts = [elements(known.get(value.name or "")) for value in (query, output)]
    except TypeError:  # then its work is not known either
        return 0.0
    return parts[0] / sum(parts)


# Operators that form scores and sum values by them.
_WITH_VALUES = ("Attention", "MultiHeadAttention")

# The share of an axis that each group owns; None stands for what no group does.
Shares = dict[str | None, float]


def _shares(atoms: IntArray, owner: Mapping[int, str]) -> Shares:
    counts = Counter(owner.get(atom) for atom in atoms.tolist())
    return {name: count / len(atoms) for name, count in counts.items()}


def _terms(macs: float, size: int, axes: Sequence[Shares]) -> Iterator[Term]:
    """One term for each combination of groups that own parts of the axes."""
    for parts in product(*(shares.items() for shares in axes)):
        names = tuple(sorted(name for name, _ in parts if name is not None))
        share = math.prod(share for _, share in parts)
        if names:
            yield Term(macs * share, size * share, names)


def assumed_inputs(specs: Sequence[InputSpec]) -> dict[str, tuple[int, ...]]:
    """The shape assumed for each input: one sample, and a default for other dynamic axes."""
    shapes = open_sizes.assumed_shapes(specs)
    return {spec.name: shape for spec, shape in zip(specs, shapes, strict=True)}


def inputs(
    model: ir.Model,
    stated: Stated,
    pasts: Mapping[ir.Value, Past],
    changed: Sequence[StateChange] = (),
) -> Sequence[InputSpec]:
    """The inputs that a model declares, with stated sizes in place of dynamic axes.

    ``pasts`` are those of the past, of a model with inputs of the same names; ``changed`` those
    that have lost channels since sizes were stated.
    """
    stated = _stated_after(stated, changed)
    growing = {value.name: past.length for value, past in pasts.items()}
    found = [
        InputSpec(
            value.name,
            tuple(_sizes(value.shape)),
            np.dtype(np.float32) if value.dtype is None else value.dtype.numpy(),
            tuple(_symbols(value.shape)),
            grows=growing.get(value.name),
        )
        for value in model.graph.inputs
        if value.shape is not None and value.const_value is None and value.name
    ]
    return open_sizes.with_stated(found, stated) if stated else found


def _stated_after(stated: Stated, changed: Sequence[StateChange]) -> Stated:
    """Stated shapes of the original's inputs as they are of the inputs that have lost channels.

    >>> _stated_after({"past": (1, 4, 9, 8)}, [StateChange("past", False, (), (None, 2, None, 8))])
    {'past': (1, 2, 9, 8)}
    """
    sizes = {each.name: each.after for each in changed if not each.output}
    return {
        name: tuple(
            given if size is None else size
            for given, size in zip(shape, sizes.get(name, shape), strict=True)
        )
        for name, shape in stated.items()
    }


def _sizes(shape: ir.Shape) -> Iterator[int | None]:
    """The sizes of the axes, None where one is dynamic."""
    yield from (dim if isinstance(dim, int) and dim > 0 else None for dim in shape)


def _symbols(shape: ir.Shape) -> Iterator[str | None]:
    """The names of dynamic axes, None for others."""
    yield from (dim.value if isinstance(dim, ir.SymbolicDim) else None for dim in shape)


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
    if tensor.dtype == ir.DataType.STRING:
        return False
    return tensor.dtype.is_floating_point() or tensor.dtype.bitwidth <= 8


def _graphs(main: ir.Graph, nodes: list[ir.Node]) -> Iterator[ir.Graph]:
    yield main
    for node in nodes:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield attribute.as_graph()
            elif attribute.type == ir.AttributeType.GRAPHS:
                yield from attribute.as_graphs()


def node_macs(node: ir.Node, known: Shapes, index: int | None = None) -> int | None:
    """Multiply-accumulates of one node, or of its weight at input ``index``.

    None where a size is unknown, or none, as where a kernel is larger than what it reads; 0 for
    operators that multiply nothing.
    """
    operator = operators.find(node)
    if operator is None:
        return 0
    inputs = [known.get(value.name or "") if value else None for value in node.inputs]
    output = known.get(node.outputs[0].name or "")
    if output is not None and 0 in output:
        return None
    try:
        if index is None:
            return operator.macs(node, inputs, output)
        return operator.macs_of(node, index, inputs, output)
    except (TypeError, IndexError):  # an unknown shape, or an axis that has only a name
        return None
