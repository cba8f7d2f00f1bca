"""Shapes that the inference leaves open, though the sizes that make them are known.

Exporters compute the width of an attention head as Shape, Gather and Div. The inference gives up
where only some entries of such a target are known; here every entry is read for itself.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from nmcore_onnx import shapes, sizes
from nmcore_onnx.constants import Place
from nmcore_onnx.shapes import Dim, Shapes

# Each round may uncover what the next one needs; exporters nest no deeper.
_ROUNDS = 3


def refined(model: ir.Model) -> Shapes:
    """Shapes by value name, as :func:`nmcore_onnx.shapes.infer` gives them, and more."""
    known = shapes.infer(model)
    declared: Shapes = {}
    for _ in range(_ROUNDS):
        new = {
            name: shape
            for node in model.graph
            if node.op_type == "Reshape"
            and (name := str(node.outputs[0].name)) not in declared
            and (shape := _target(node, known)) is not None
        }
        if not new:
            break
        declared |= new
        known = shapes.infer(model, declared=declared)
    return known


def _target(node: ir.Node, known: Shapes) -> tuple[Dim, ...] | None:
    """The shape that a Reshape gives, where more of it can be told than is known."""
    before = known.get(str(node.outputs[0].name))
    source = known.get(str(node.inputs[0].name)) if node.inputs[0] is not None else None
    target = sizes.entries(Place(node, 1), known)
    if target is None or source is None:
        return None
    if before is not None and all(isinstance(size, int) for size in before):
        return None
    shape = [_size(entry, index, source, known) for index, entry in enumerate(target)]
    if shape.count(-1) == 1 and all(isinstance(size, int) for size in (*source, *shape)):
        rest = math.prod(size for size in shape if isinstance(size, int) and size != -1)
        total = math.prod(size for size in source if isinstance(size, int))
        shape[shape.index(-1)] = total // rest if rest else -1
    named: list[Dim] = [
        f"?{node.outputs[0].name}.{axis}" if size == -1 else size for axis, size in enumerate(shape)
    ]
    gained = sum(isinstance(size, int) for size in named)
    if before is not None and gained <= sum(isinstance(size, int) for size in before):
        return None
    return tuple(named)


def _size(entry: sizes.Entry, index: int, source: tuple[Dim, ...], known: Shapes) -> Dim:
    if entry.number == 0:
        return source[index] if index < len(source) else -1
    if entry.number is not None:
        return entry.number
    if entry.dim is not None:
        return known.get(str(entry.dim[0].name), ())[entry.dim[1]]
    return -1
