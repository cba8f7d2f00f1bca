"""A copy of a model that knows where each node of the original went."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from nmcore_onnx.ir import bodies, names
from nmcore_onnx.ir.constants import Place


class Copy:
    """A copy of a model, and where each node of the original went."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model.clone()
        names.adopt(self.model.graph)
        mine = RecursiveGraphIterator(self.model.graph)
        self._nodes: dict[ir.Node, ir.Node] = dict(
            zip(RecursiveGraphIterator(model.graph), mine, strict=True)
        )
        self._values = {
            old: new
            for before, after in self._nodes.items()
            for old, new in zip(before.outputs, after.outputs, strict=True)
        }
        inner = bodies.graphs(self.model.graph)
        self.graphs = list(zip(bodies.graphs(model.graph), inner, strict=True))
        for before, after in self.graphs:
            self._values |= dict(zip(before.inputs, after.inputs, strict=True))
        self._doubles: dict[tuple[ir.Node, ir.Node], ir.Node] = {}

    def node(self, node: ir.Node) -> ir.Node:
        """The copy of a node."""
        return self._nodes[node]

    def has(self, node: ir.Node) -> bool:
        """Whether a node of the original is one of the copy's too."""
        return node in self._nodes

    def place(self, place: Place) -> Place:
        """The copy of a place."""
        return Place(self._nodes[place.node], place.index)

    def value(self, value: ir.Value) -> ir.Value:
        """The copy of a node's output, or of an input of the model."""
        return self._values[value]

    def move(self, value: ir.Value, new: ir.Value) -> None:
        """Let the copy of a node's output be another value from now on."""
        self._values[value] = new

    def private(self, reader: ir.Node, place: Place, path: tuple[ir.Node, ...]) -> Place:
        """The copy of a place from which ``path`` leads to ``reader``, and to no other node.

        Nodes on the way that others read too are doubled, for this reader alone.
        """
        below = self.node(reader)
        for node in path:
            mine = self._doubles.get((reader, node), self.node(node))
            if len(mine.outputs[0].uses()) > 1 or mine.outputs[0].is_graph_output():
                mine = self._doubles[reader, node] = _double(mine, below)
            below = mine
        return Place(below if path else self.node(place.node), place.index)


def _double(node: ir.Node, reader: ir.Node) -> ir.Node:
    """Put a second node like ``node`` beside it, which ``reader`` alone reads."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    name = f"{node.name or node.outputs[0].name}.for.{reader.name or reader.outputs[0].name}"
    double = ir.node(
        node.op_type,
        node.inputs,
        dict(node.attributes),
        domain=node.domain,
        name=names.node_name(graph, name),
    )
    double.outputs[0].name = names.value_name(graph, f"{name}.output")
    double.outputs[0].shape, double.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
    graph.insert_after(node, double)
    for use in list(node.outputs[0].uses()):
        if use.node is reader:
            reader.replace_input_with(use.idx, double.outputs[0])
    return double
