"""A copy of a model that knows where each node of the original went."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from nmcore_onnx.ir import bodies, names
from nmcore_onnx.ir.constants import Place


class Copy:
    """A copy of a model, or of some of its nodes, and where each node of the original went.

    Parameters
    ----------
    model : ir.Model
        Not changed.
    nodes : sequence of ir.Node, optional
        The nodes to copy, in their order, where no node of the model holds a graph. What others
        give stands for itself: :meth:`value` is a value that nothing makes, and the graph has no
        outputs.
    """

    def __init__(self, model: ir.Model, nodes: Sequence[ir.Node] | None = None) -> None:
        self.graphs: list[tuple[ir.Graph | ir.GraphView, ir.Graph]]
        if nodes is None:
            self.model = model.clone()
            inner = bodies.graphs(self.model.graph)
            self.graphs = list(zip(bodies.graphs(model.graph), inner, strict=True))
        else:
            part = _view(model.graph, nodes)
            self.model = ir.Model(part.clone(), ir_version=model.ir_version)
            self.graphs = [(part, self.model.graph)]
        names.adopt(self.model.graph)
        source, mine = (RecursiveGraphIterator(each) for each in self.graphs[0])
        self._nodes: dict[ir.Node, ir.Node] = dict(zip(source, mine, strict=True))
        self._values = {
            old: new
            for before, after in self._nodes.items()
            for old, new in zip(before.outputs, after.outputs, strict=True)
        }
        for whole, copied in self.graphs:
            self._values |= dict(zip(whole.inputs, copied.inputs, strict=True))
        for value in self.graphs[0][0].inputs:
            if value not in model.graph.inputs:
                self.model.graph.inputs.remove(self._values[value])
        self._doubles: dict[tuple[ir.Node, ir.Node], ir.Node] = {}

    def node(self, node: ir.Node) -> ir.Node:
        """The copy of a node."""
        return self._nodes[node]

    def has(self, node: ir.Node) -> bool:
        """Whether a node of the original is one of the copy's too."""
        return node in self._nodes

    def knows(self, value: ir.Value) -> bool:
        """Whether the copy has a node's output, or an input of the model."""
        return value in self._values

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


def _view(graph: ir.Graph, nodes: Sequence[ir.Node]) -> ir.GraphView:
    """Some nodes of a graph; what else they read stands behind the graph's inputs."""
    read = dict.fromkeys(value for node in nodes for value in node.inputs if value is not None)
    made = {value for node in nodes for value in node.outputs}
    others = [v for v in read if v not in made and not v.is_initializer() and v.producer()]
    return ir.GraphView(
        # An input that is an initialiser is none any more where nothing reads it.
        [*(v for v in graph.inputs if not v.is_initializer() or v in read), *others],
        [],
        nodes=nodes,
        initializers=[value for value in read if value.is_initializer()],
        opset_imports=graph.opset_imports,
        name=graph.name,
    )


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
