"""The bodies of If, Loop and Scan: graphs inside nodes that read what is around them by name."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from nmcore_onnx.ir.nodes import label

_BODIES = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",)}


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The graphs that a node runs, in the order of the operator's definition; none of others."""
    names = _BODIES.get(node.op_type, ()) if node.domain in ("", "ai.onnx") else ()
    found = [node.attributes[name].as_graph() for name in names if name in node.attributes]
    return found if len(found) == len(names) else []


def walk(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes of a graph in their order, those of bodies before the node that runs them."""
    for node in graph:
        for body in bodies(node):
            yield from walk(body)
        yield node


def graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """A graph and all bodies inside it."""
    yield graph
    for node in graph:
        for body in bodies(node):
            yield from graphs(body)


def has_bodies(graph: ir.Graph) -> bool:
    """Whether any node of a graph runs another."""
    return any(bodies(node) for node in graph)


def with_unique_names(model: ir.Model) -> ir.Model:
    """The model itself, or a copy where values or nodes in bodies have names of their own.

    The branches of an If may use the same names for different values. Each body is told the
    model's operator sets.
    """
    for graph in graphs(model.graph):
        graph.opset_imports.update(model.graph.opset_imports)
    if not has_bodies(model.graph) or not _rename(model.graph, dry=True):
        return model
    copy = model.clone()
    _rename(copy.graph, dry=False)
    return copy


def _rename(main: ir.Graph, *, dry: bool) -> bool:
    """Give what has a name that is taken another one; whether there was any."""
    values = {str(value.name) for value in _values(main)}
    nodes = {node.name for node in main if node.name}
    found = False
    for path, body in _inside(main, ""):
        for value in _values(body):
            if str(value.name) in values:
                if dry:
                    return True
                found, name = True, _free(f"{path}.{value.name}", values)
                _name_value(body, value, name)
                values.add(name)
            else:
                values.add(str(value.name))
        for node in body:
            if node.name and node.name in nodes:
                if dry:
                    return True
                found, node.name = True, _free(f"{path}.{node.name}", nodes)
            nodes.add(str(node.name))
    return found


def _inside(graph: ir.Graph, path: str) -> Iterator[tuple[str, ir.Graph]]:
    """Every body in a graph, and what it is called: its node, and the branch of an If."""
    for node in graph:
        for name, body in zip(_BODIES.get(node.op_type, ()), bodies(node), strict=False):
            here = f"{path}{label(node)}" + (f".{name.split('_')[0]}" if "_" in name else "")
            yield here, body
            yield from _inside(body, f"{here}.")


def _values(graph: ir.Graph) -> list[ir.Value]:
    """What a graph defines."""
    found = [*graph.inputs, *graph.initializers.values()]
    found += [value for node in graph for value in node.outputs if value.name]
    return [*dict.fromkeys(found)]


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _name_value(graph: ir.Graph, value: ir.Value, name: str) -> None:
    """Rename a value; of an initialiser, not the tensor, which the caller's model shares."""
    tensor = value.const_value if value.is_initializer() else None
    if tensor is None:
        value.name = name
        return
    sizes = ir.Shape(int(size) for size in tensor.shape.numpy())
    data = ir.LazyTensor(lambda: tensor, tensor.dtype, sizes, name=name)
    mine = ir.Value(name=name, shape=sizes, type=ir.TensorType(tensor.dtype), const_value=data)
    del graph.initializers[str(value.name)]
    graph.register_initializer(mine)
    ir.convenience.replace_all_uses_with(value, mine, replace_graph_outputs=value.is_graph_output())
