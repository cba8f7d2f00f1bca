"""Every tensor of a model, wherever it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator


def tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every tensor of a model: initialisers and attributes, in subgraphs and functions too."""
    graphs: Iterable[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        yield from _initialisers(graph)
        for node in RecursiveGraphIterator(graph):
            for attribute in node.attributes.values():
                yield from _of_attribute(attribute)


def _initialisers(graph: ir.Graph | ir.Function) -> Iterator[ir.TensorProtocol]:
    if isinstance(graph, ir.Graph):
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value


def _of_attribute(attribute: ir.Attr) -> Iterator[ir.TensorProtocol]:
    if attribute.is_ref():
        return
    if attribute.type == ir.AttributeType.TENSOR:
        # as_tensor() checks every member of the protocol, which costs more than all the rest here.
        yield attribute.value
    elif attribute.type == ir.AttributeType.TENSORS:
        yield from attribute.as_tensors()
    elif attribute.type == ir.AttributeType.GRAPH:
        yield from _initialisers(attribute.as_graph())
    elif attribute.type == ir.AttributeType.GRAPHS:
        for graph in attribute.as_graphs():
            yield from _initialisers(graph)
