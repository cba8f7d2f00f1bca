"""Shapes that the inference leaves open, though the sizes that make them are known.

Exporters compute the width of an attention head, or half of the channels, as Shape, Gather and Div.
The inference gives up where only some entries of such a target are known, and on every such bound
of a Slice; here each is read for itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx import shapes, sizes
from nmcore_onnx.constants import Place
from nmcore_onnx.folding import static
from nmcore_onnx.shapes import Dim, Shapes

# Each round may uncover what the next one needs, as in a chain of units that each halve and shuffle
# their channels. The longest ones known have 16 units.
_ROUNDS = 40


def refined(model: ir.Model) -> Shapes:
    """Shapes by value name, as :func:`nmcore_onnx.shapes.infer` gives them, and more."""
    known = shapes.infer(model)
    declared: Shapes = {}
    for _ in range(_ROUNDS):
        new = {
            str(node.outputs[0].name): shape
            for node in model.graph
            if node.op_type in _RULES and (shape := _more(node, known)) is not None
        }
        if not new:
            break
        declared |= new
        known = shapes.infer(model, declared=declared)
    return known


def _more(node: ir.Node, known: Shapes) -> tuple[Dim, ...] | None:
    """The shape of a node's output, where more of it can be told than is known."""
    before = known.get(str(node.outputs[0].name))
    source = known.get(str(node.inputs[0].name)) if node.inputs[0] is not None else None
    if source is None or (before is not None and _numbers(before) == len(before)):
        return None
    shape = _RULES[node.op_type](node, source, known)
    if shape is None or (before is not None and _numbers(shape) <= _numbers(before)):
        return None
    return tuple(shape)


def _numbers(shape: Sequence[Dim]) -> int:
    return sum(isinstance(size, int) for size in shape)


def _reshaped(node: ir.Node, source: tuple[Dim, ...], known: Shapes) -> list[Dim] | None:
    """The target of a Reshape, entry by entry; a -1 is what is left of the source."""
    target = sizes.entries(Place(node, 1), known)
    if target is None:
        return None
    shape = [_size(entry, index, source, known) for index, entry in enumerate(target)]
    if shape.count(-1) == 1:
        rest = [size for size in shape if size != -1]
        # Dynamic axes cancel where both sides have the same ones.
        names = [Counter(size for size in each if isinstance(size, str)) for each in (source, rest)]
        if names[0] == names[1]:
            total, part = (
                math.prod(size for size in each if isinstance(size, int)) for each in (source, rest)
            )
            shape[shape.index(-1)] = total // part if part else -1
    return [_named(node, axis) if size == -1 else size for axis, size in enumerate(shape)]


def _named(node: ir.Node, axis: int) -> str:
    return f"?{node.outputs[0].name}.{axis}"


def _size(entry: sizes.Entry, index: int, source: tuple[Dim, ...], known: Shapes) -> Dim:
    if entry.number == 0:
        return source[index] if index < len(source) else -1
    if entry.number is not None:
        return entry.number
    if entry.dim is not None:
        return known.get(str(entry.dim[0].name), ())[entry.dim[1]]
    return -1


def _sliced(node: ir.Node, source: tuple[Dim, ...], known: Shapes) -> list[Dim] | None:
    """What a Slice leaves, where its bounds are static; other axes stay as long as they are."""
    if "starts" in node.attributes:  # until opset 9, which the inference can read
        return None
    starts, ends, axes, steps = (_ints(Place(node, index), known) for index in (1, 2, 3, 4))
    if starts is None or ends is None:
        return None
    named = [Place(node, index).value is not None for index in (3, 4)]
    if (named[0] and axes is None) or (named[1] and steps is None):
        return None
    shape = list(source)
    for number, axis in enumerate(range(len(starts)) if axes is None else axes):
        size, step = source[axis], 1 if steps is None else steps[number]
        part = slice(starts[number], ends[number], step)
        shape[axis] = (
            len(range(*part.indices(size))) if isinstance(size, int) else _named(node, axis)
        )
    return shape


def _ints(place: Place, known: Shapes) -> list[int] | None:
    found = static(place.value, known)
    return None if found is None else [int(number) for number in found.ravel()]


_RULES = {"Reshape": _reshaped, "Slice": _sliced}
