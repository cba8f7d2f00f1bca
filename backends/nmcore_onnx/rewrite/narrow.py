"""Heads that are narrower inside: projections through maps, and the sizes and shapes between.

What is cut is decided by the channels that have gone, as everywhere: with none gone, a projection
is multiplied by its map and filled up with zeros, which computes the same at full width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from nmcore.group import Float64Array, FloatArray, IntArray, Narrowing
from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.arrays import Masks, cut, read
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.rewrite.ledger import Changed
from nmcore_onnx.rewrite.model_copy import Copy
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.scores import HeadValue, Side, TracedPair
from nmcore_onnx.trace.slots import Slot


class Narrowed(NamedTuple):
    """Queries and keys that were narrowed, and by which maps."""

    traced: TracedPair
    maps: Narrowing

    @property
    def sides(self) -> Iterator[tuple[Side, Float64Array]]:
        """Queries and keys, each with the maps of its heads."""
        return zip(self.traced.sides, (self.maps.query, self.maps.key), strict=True)


def turn(array: FloatArray, axis: int, maps: Float64Array) -> FloatArray:
    """An array whose ``axis`` (heads * D) goes through the maps (heads, D, d) of its heads.

    Behind the d channels of each head come zeros.

    Examples
    --------
    >>> turn(np.array([[1.0, 2.0, 3.0, 4.0]]), 1, np.array([[[1.0], [1.0]], [[0.0], [2.0]]]))
    array([[3., 0., 8., 0.]])
    """
    moved = np.moveaxis(array, axis, -1)
    heads, width, count = maps.shape
    parts = moved.reshape(*moved.shape[:-1], heads, 1, width)
    turned = np.zeros(parts.shape, np.float64)
    turned[..., :count] = parts.astype(np.float64) @ maps
    back = np.moveaxis(turned.reshape(moved.shape), -1, axis)
    return back.astype(array.dtype)


def turned_weights(
    narrowed: Sequence[Narrowed], changed: Mapping[Place, Changed]
) -> dict[Place, Changed]:
    """The weights and biases of all projections, multiplied by their maps, at full width."""
    return {
        slot.place: _turned(slot, maps, changed.get(slot.place))
        for each in narrowed
        for side, maps in each.sides
        for slot in side.slots
    }


def _turned(slot: Slot, maps: Float64Array, before: Changed | None) -> Changed:
    def stored(masks: Masks) -> FloatArray:
        array = read(slot.place) if before is None else before.whole()
        return cut(turn(array, slot.axis, maps), masks)

    return Changed(stored)


def turned_addition(narrowed: Sequence[Narrowed], place: Place, addition: FloatArray) -> FloatArray:
    """What is added to the bias of a weight, multiplied by the maps of its heads, if any."""
    for each in narrowed:
        for side, maps in each.sides:
            if side.weight.place == place:
                return turn(addition, 0, maps)
    return addition


def inner_slots(narrowed: Sequence[Narrowed]) -> list[Slot]:
    """The constants that lose channels inside heads."""
    return [slot for each in narrowed for side in each.traced.sides for slot in side.slots]


def owners_of(narrowed: Sequence[Narrowed], place: Place) -> IntArray | None:
    """The channels inside heads that own the rows of a weight; None where it makes none."""
    return next((slot.atoms for slot in inner_slots(narrowed) if slot.place == place), None)


def left(atoms: IntArray, heads: IntArray | None, gone: IntArray) -> int:
    """How many positions are left of those that channels inside heads, and heads, own."""
    keep = ~np.isin(atoms, gone)
    if heads is not None:
        keep &= ~np.isin(heads, gone)
    return int(np.count_nonzero(keep))


def adjust(copy: Copy, trace: Trace, narrowed: Sequence[Narrowed], gone: IntArray) -> None:
    """Let everything between projections and scores know of the narrower heads.

    1. Declared shapes.
    2. What is computed from the width, such as the scale of the scores, stays what it was.
    3. An operator that takes the scale from the width is given it.
    """
    for each in narrowed:
        if not np.isin(each.traced.atoms, gone).any():
            continue
        for side in each.traced.sides:
            for head_value in side.head_values:
                _declare(copy, head_value, each)
                _keep_length(copy, trace, head_value, each, gone)
        _give_scale(copy.node(each.traced.scores), len(each.traced.atoms))


def _declare(copy: Copy, head_value: HeadValue, each: Narrowed) -> None:
    """Case 1; heads that went before are accounted for already."""
    value = copy.value(head_value.value)
    size = value.shape[head_value.axis] if value.shape is not None else None
    if value.shape is None or not isinstance(size, int):
        return
    sizes = list(value.shape)
    sizes[head_value.axis] = size // len(each.traced.atoms) * each.maps.width
    value.shape = ir.Shape(sizes)


def _keep_length(
    copy: Copy, trace: Trace, head_value: HeadValue, each: Narrowed, gone: IntArray
) -> None:
    """Case 2: shapes that are read tell the width that was."""
    length = head_value.heads * len(each.traced.atoms)
    channels, heads = trace.channels.get(head_value.value), None
    if channels is not None and channels.axis == head_value.axis:
        heads = channels.expand(length)
    inner = np.tile(each.traced.atoms, head_value.heads)
    outside = gone[~np.isin(gone, inner)]
    missing = left(inner, heads, outside) - left(inner, heads, gone)
    rank = len(trace.shape(head_value.value) or ())
    for use in list(copy.value(head_value.value).uses()):
        node = use.node
        if node.op_type != "Shape":
            continue
        start = node.attributes["start"].as_int() if "start" in node.attributes else 0
        end = node.attributes["end"].as_int() if "end" in node.attributes else rank
        told = np.arange(rank)[start:end] == head_value.axis
        if told.any():
            _add(node, told * missing)


def _add(node: ir.Node, missing: IntArray) -> None:
    """Let a Shape tell more than there is."""
    graph, sizes = node.graph, node.outputs[0]
    assert isinstance(graph, ir.Graph)
    name = f"{node.name or sizes.name}.as_it_was"
    total = ir.node("Add", [sizes, None], name=names.node_name(graph, name))
    graph.insert_after(node, total)
    new = total.outputs[0]
    new.name = names.value_name(graph, f"{name}.output")
    new.shape, new.type = sizes.shape, sizes.type
    constants.insert(Place(total, 1), f"{name}.missing", missing.astype(np.int64))
    for use in list(sizes.uses()):
        if use.node is not total:
            use.node.replace_input_with(use.idx, new)


def _give_scale(node: ir.Node, width: int) -> None:
    """Case 3."""
    if node.op_type in ("Attention", "MultiHeadAttention"):
        scale = node.attributes["scale"].as_float() if "scale" in node.attributes else 0.0
        if scale == 0:
            node.attributes["scale"] = ir.AttrFloat32("scale", 1 / math.sqrt(width))
