"""Ifs whose condition follows from constants and declared sizes: the branch that is always taken
takes their place.

Exporters write them where a size decides, as in ``squeeze()``; channels are followed through what
the branch holds, and the other branch goes.
"""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.constant_folding import has_subgraphs, is_random, static
from nmcore_onnx.ir.defaults import default
from nmcore_onnx.ir.types import Shapes


def decided(graph: ir.Graph, shapes: Shapes) -> dict[str, bool]:
    """The conditions of all Ifs that are always the same, by the name of the If's first output."""
    found = {}
    for node in graph:
        if node.op_type != "If" or node.domain not in ("", "ai.onnx"):
            continue
        if _is_decided(node.inputs[0], shapes):
            condition = static(node.inputs[0], shapes)
            if condition is not None and condition.size == 1:
                found[str(node.outputs[0].name)] = bool(condition.ravel()[0])
    return found


def _is_decided(value: ir.Value | None, shapes: Shapes) -> bool:
    """Whether a value follows from constants and static sizes, and no dynamic one is read at all.

    Sizes that are tried cannot tell: a condition may ask whether an axis has just this length.
    """
    stack, seen = [value], set()
    while stack:
        current = stack.pop()
        if current is None or current in seen or default(current) is not None:
            continue
        seen.add(current)
        node = current.producer()
        if node is None or has_subgraphs(node) or is_random(node):
            return False
        # What a Shape gives and what is picked of it is the same for all lengths, or holds one.
        picks = node.op_type in ("Gather", "Slice") and _is_shape(node.inputs[0])
        if node.op_type in ("Shape", "Size") or picks:
            if static(current, shapes) is None:
                return False
            stack += node.inputs[1:]
        else:
            stack += node.inputs
    return True


def _is_shape(value: ir.Value | None) -> bool:
    maker = value.producer() if value is not None else None
    return maker is not None and maker.op_type == "Shape"


def inline_branches(graph: ir.Graph, conditions: dict[str, bool]) -> None:
    """Put the branch that is taken in the place of each If that :func:`decided` names."""
    for node in list(graph):
        condition = conditions.get(str(node.outputs[0].name)) if node.outputs else None
        if node.op_type == "If" and condition is not None:
            _inline(graph, node, "then_branch" if condition else "else_branch")


def _inline(graph: ir.Graph, node: ir.Node, taken: str) -> None:
    captured = _captured(node)
    branch = node.attributes.pop(taken).as_graph()
    _give_up(node)
    names.forget(graph)  # those of both branches are free now
    moved = _move_initialisers(graph, branch)
    outputs = [moved.get(value, value) for value in branch.outputs]
    branch.outputs.clear()
    inside = list(branch)
    branch.remove(inside)
    for each in inside:
        each.name = names.node_name(graph, each.name) if each.name else each.name
        for value in each.outputs:
            value.name = names.value_name(graph, str(value.name))
    graph.insert_before(node, inside)
    for old, new in zip(node.outputs, outputs, strict=True):
        own = new.producer() in inside
        _replace(graph, old, new if own else _copied(graph, node, new))
    unread = [value for value in (*node.inputs, *captured) if value is not None]
    graph.remove(node, safe=True)
    for value in unread:
        constants.drop(value)


def _give_up(node: ir.Node) -> None:
    """Let nothing inside the branch that is left read what is around it any more."""
    for attribute in node.attributes.values():
        for each in _nodes(attribute):
            for index in range(len(each.inputs)):
                each.replace_input_with(index, None)
    node.attributes.clear()


def _captured(node: ir.Node) -> list[ir.Value]:
    """Constants around an If that are read inside it, and may be left without a reader."""
    inside = [each for attribute in node.attributes.values() for each in _nodes(attribute)]
    members = set(inside)
    found = dict.fromkeys(
        value
        for each in inside
        for value in each.inputs
        if value is not None and value.producer() not in members
    )
    return [value for value in found if constants.tensor(value) is not None]


def _nodes(attribute: ir.Attr) -> list[ir.Node]:
    holds = attribute.type == ir.AttributeType.GRAPH
    return list(attribute.as_graph().all_nodes()) if holds else []


def _move_initialisers(graph: ir.Graph, branch: ir.Graph) -> dict[ir.Value, ir.Value]:
    """Give a graph the constants of a branch; what stands for each of them."""
    moved = {}
    for name, value in list(branch.initializers.items()):
        assert value.const_value is not None
        # A new value: renaming this one would rename the tensor, which the caller's model shares.
        data = _named(value.const_value, names.value_name(graph, name))
        kind = ir.TensorType(data.dtype)
        mine = ir.Value(name=data.name, shape=data.shape, type=kind, const_value=data)
        graph.register_initializer(mine)
        for node, index in list(value.uses()):
            node.replace_input_with(index, mine)
        moved[value] = mine
    return moved


def _named(tensor: ir.TensorProtocol, name: str) -> ir.LazyTensor:
    """The same numbers under another name; they are not read before somebody asks."""
    sizes = ir.Shape(int(size) for size in tensor.shape.numpy())
    return ir.LazyTensor(lambda: tensor, tensor.dtype, sizes, name=name)


def _copied(graph: ir.Graph, node: ir.Node, value: ir.Value) -> ir.Value:
    """What a branch gives though none of its nodes makes it, such as a constant."""
    copy = ir.node("Identity", [value], name=names.node_name(graph, f"{node.name}.output"))
    graph.insert_before(node, copy)
    return copy.outputs[0]


def _replace(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Let what a branch gives be read instead of what the If gave, under the name of that."""
    name, given = old.name, old.is_graph_output()
    if new.shape is None:
        new.shape = old.shape
    new.type = new.type or old.type
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=given)
    old.name, new.name = names.value_name(graph, f"{name}.if"), name
