"""Integer arithmetic on shapes: what each entry of a Reshape's target is, as far as one can tell.

Exporters write ``x.view(x.size(0), -1)`` as Shape -> Gather -> Unsqueeze -> Concat -> Reshape.
This module reads such chains entry by entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from nmcore_onnx import constants
from nmcore_onnx.constants import Place
from nmcore_onnx.shapes import Shapes


@dataclass(frozen=True)
class Entry:
    """One entry of a tensor of sizes.

    Attributes
    ----------
    number : int or None
        The entry itself, where it is a constant.
    dim : (value, axis) or None
        The axis of the value whose length it is.
    place, position : Place and int, or None
        Where the constant stands, so that it can be changed.
    """

    number: int | None = None
    dim: tuple[ir.Value, int] | None = None
    place: Place | None = None
    position: int = 0


UNKNOWN = Entry()


def private(place: Place, reader: ir.Node) -> bool:
    """Whether a number at ``place`` reaches ``reader`` and nothing else on its way down."""
    node = place.node
    while node is not reader:
        uses = node.outputs[0].uses()
        if len(uses) != 1 or node.outputs[0].is_graph_output():
            return False
        node = next(iter(uses)).node
    return True


def entries(place: Place, shapes: Shapes) -> list[Entry] | None:
    """The entries of the integer tensor that ``place`` reads; None where not even their number
    is known.
    """
    value = place.value
    numbers = constants.ints(value)
    if numbers is not None:
        return [Entry(number, place=place, position=i) for i, number in enumerate(numbers)]
    node = value.producer() if value is not None else None
    if node is None:
        return None
    rule = _RULES.get(node.op_type)
    return rule(node, shapes) if rule else _unknown(node, shapes)


def leak(
    value: ir.Value, axis: int, rank: int, readers: Callable[[ir.Node], bool]
) -> ir.Node | None:
    """The first node that uses the length of ``axis`` for anything but an allowed Reshape.

    Parameters
    ----------
    value : ir.Value
        The output of a Shape node; the entries of other axes may be used freely.
    axis, rank : int
        Of the value whose shape it is.
    readers : callable
        Whether a Reshape may have the length as a part of its target.
    """
    for use in value.uses():
        node = use.node
        picked: range | list[int] | None = None
        if node.op_type == "Gather" and use.idx == 0:
            picked = constants.ints(node.inputs[1])
        elif node.op_type == "Slice" and use.idx == 0:
            picked = _slice_range(node, rank)
        if picked is not None and axis not in [index % rank for index in picked]:
            continue
        found = _leak_at(node, use.idx, readers)
        if found is not None:
            return found
    return None


def _leak_at(node: ir.Node, index: int, readers: Callable[[ir.Node], bool]) -> ir.Node | None:
    if node.op_type == "Reshape" and index == 1 and readers(node):
        return None
    passes = node.op_type in _TRANSPARENT and (index == 0 or node.op_type == "Concat")
    if not passes or node.outputs[0].is_graph_output():
        return node
    for use in node.outputs[0].uses():
        found = _leak_at(use.node, use.idx, readers)
        if found is not None:
            return found
    return None


# Through these an entry stays what it is, so a Reshape behind them sees the same number.
_TRANSPARENT = ("Gather", "Slice", "Unsqueeze", "Squeeze", "Concat", "Cast", "Identity")


def _shape(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    value = node.inputs[0]
    if value is None or value.name not in shapes:
        return None
    rank = len(shapes[value.name])
    start = node.attributes["start"].as_int() if "start" in node.attributes else 0
    end = node.attributes["end"].as_int() if "end" in node.attributes else rank
    return [Entry(dim=(value, axis)) for axis in range(rank)[start:end]]


def _gather(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    data = entries(Place(node, 0), shapes)
    picked = constants.ints(node.inputs[1])
    if data is None or picked is None:
        return _unknown(node, shapes)
    if any(not -len(data) <= index < len(data) for index in picked):
        return None
    return [data[index] for index in picked]


def _slice(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    data = entries(Place(node, 0), shapes)
    if data is None:
        return None
    picked = _slice_range(node, len(data))
    return _unknown(node, shapes) if picked is None else [data[index] for index in picked]


def _slice_range(node: ir.Node, length: int) -> range | None:
    """Which entries of a one-dimensional tensor a Slice takes; None where that is not constant."""
    if len(node.inputs) < 3:
        return None
    bounds = [constants.ints(value) for value in node.inputs[1:3]]
    steps = constants.ints(node.inputs[4]) if len(node.inputs) > 4 else [1]
    start, end = bounds
    if start is None or end is None or steps is None or not len(start) == len(end) == 1:
        return None
    return range(length)[slice(start[0], end[0], steps[0])]


def _concat(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    parts = [entries(Place(node, index), shapes) for index in range(len(node.inputs))]
    if any(part is None for part in parts):
        return None
    return [entry for part in parts if part is not None for entry in part]


def _through(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    return entries(Place(node, 0), shapes)


def _unknown(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    """As many unknown entries as the shape of the node's output says."""
    shape = shapes.get(node.outputs[0].name or "")
    if shape is None or any(not isinstance(size, int) for size in shape):
        return None
    return [UNKNOWN] * math.prod(size for size in shape if isinstance(size, int))


_RULES = {
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _through,
    "Squeeze": _through,
    "Cast": _through,
    "Identity": _through,
}
