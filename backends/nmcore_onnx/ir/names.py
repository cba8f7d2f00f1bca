"""Names for new values and nodes: free in a graph and in all graphs inside its nodes.

A branch reads what is around it by name, so a new name that a branch uses for a value of its own
would stand for another value there.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import ReferenceType, WeakKeyDictionary, ref

import onnx_ir as ir

# The names of each graph, once they have been asked for; new ones are added.
_VALUES: WeakKeyDictionary[ir.Graph, set[str]] = WeakKeyDictionary()
_NODES: WeakKeyDictionary[ir.Graph, set[str]] = WeakKeyDictionary()
# The main graph of each body, which does not know it itself.
_MAIN: WeakKeyDictionary[ir.Graph, ReferenceType[ir.Graph]] = WeakKeyDictionary()


def adopt(graph: ir.Graph) -> None:
    """Let :func:`main` know whose the graphs inside a main graph are."""
    mine = ref(graph)
    for body in graph.subgraphs():
        _MAIN[body] = mine


def main(graph: ir.Graph) -> ir.Graph:
    """The main graph that a body was adopted by, where all its readers see new values; else the
    graph itself.
    """
    found = _MAIN.get(graph)
    return (found() if found is not None else None) or graph


def value_name(graph: ir.Graph, name: str) -> str:
    """A name like ``name`` that no value has; it is taken from now on."""
    graph = main(graph)
    if graph not in _VALUES:
        _VALUES[graph] = set(_value_names(graph))
    return _free(_VALUES[graph], name)


def node_name(graph: ir.Graph, name: str) -> str:
    """A name like ``name`` that no node has; it is taken from now on."""
    graph = main(graph)
    if graph not in _NODES:
        _NODES[graph] = {str(node.name) for node in graph.all_nodes()}
    return _free(_NODES[graph], name)


def forget(graph: ir.Graph) -> None:
    """Look names up anew: some may have become free."""
    graph = main(graph)
    _VALUES.pop(graph, None)
    _NODES.pop(graph, None)


def _free(taken: set[str], name: str) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _value_names(graph: ir.Graph) -> Iterator[str]:
    for each in (graph, *graph.subgraphs()):
        yield from each.initializers
        yield from (str(value.name) for value in each.inputs)
        yield from (str(value.name) for node in each for value in node.outputs)
