"""What is asked of a single node: its name, its attributes, who reads its output."""

from __future__ import annotations

import onnx_ir as ir


def label(node: ir.Node) -> str:
    """A node's name, or that of its first output that has one."""
    return node.name or next((value.name for value in node.outputs if value.name), "?")


def attribute(node: ir.Node, name: str, default: float = 1.0) -> float:
    """A floating-point attribute of a node."""
    return node.attributes[name].as_float() if name in node.attributes else default


def flag(node: ir.Node, name: str, *, default: bool = False) -> bool:
    """Whether an integer attribute of a node is not 0; ``default`` where it is not given."""
    return node.attributes[name].as_int() != 0 if name in node.attributes else default


def only_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value, where nothing else does."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    reader, maker = next(iter(uses)).node, value.producer()
    # A reader inside a subgraph runs under conditions of its own.
    return reader if maker is not None and reader.graph is maker.graph else None
