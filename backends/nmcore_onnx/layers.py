"""The layers of a model one by one: their widths, their work, and what a runtime may call them."""

from __future__ import annotations

import onnx_ir as ir

from nmcore.plugins import Layer
from nmcore_onnx.cost import node_macs
from nmcore_onnx.ir.nodes import label
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.trace import operators

_CHANNELS_FIRST = ("Conv", "ConvTranspose", "FusedConv", "ConvInteger", "QLinearConv")


def layers(model: ir.Model, known: Shapes) -> list[Layer]:
    """Every node with weights, in their order.

    A layer is also known by the names of what follows it up to the next ones: runtimes name a
    kernel for several operators after any of them, or after a value between.

    Parameters
    ----------
    known : shapes
        From :func:`nmcore_onnx.cost.assumed_shapes`.
    """
    owned: list[tuple[ir.Node, set[str]]] = []
    owner: dict[ir.Value, set[str]] = {}
    for node in model.graph:
        operator = operators.find(node)
        if operator is not None and operator.has_weight and not operator.is_product(node):
            mine: set[str] = set()
            owned.append((node, mine))
            names: set[str] | None = mine
        else:
            before = (owner.get(value) for value in node.inputs if value is not None)
            names = next((each for each in before if each is not None), None)
        if names is not None:
            names |= {node.name or "", *(value.name or "" for value in node.outputs)} - {""}
            owner |= dict.fromkeys(node.outputs, names)
    return [
        Layer(label(node), node.op_type, _width(node, known), node_macs(node, known), names)
        for node, names in ((node, frozenset(names)) for node, names in owned)
    ]


def _width(node: ir.Node, known: Shapes) -> int | None:
    shape = known.get(node.outputs[0].name or "")
    axis = 1 if node.op_type in _CHANNELS_FIRST else -1
    if not shape or len(shape) < 2:
        return None
    size = shape[axis]
    return size if isinstance(size, int) else None
