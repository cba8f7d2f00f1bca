"""Layers that go both ways: which unit of each direction make one channel.

Both directions have as many units, but those of one have nothing to do with those of the other:
what reads them has columns for each. So the backward units may stand in any order, once the rows
and columns that are theirs do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from nmcore.group import IntArray
from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.constants import Array, Place
from nmcore_onnx.ir.nodes import flag
from nmcore_onnx.ir.types import Dim
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.groups import TracedGroup
from nmcore_onnx.trace.recurrent.layout import (
    BIAS,
    INPUT,
    PEEPHOLES,
    RECURRENCE,
    directions,
    is_recurrent,
    units,
)
from nmcore_onnx.trace.slots import ConsumerSlot

# Operators that give the entries of what they read first, in the order of their axes.
_MOVING = ("Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Dropout")


def tap_directions(
    trace: Trace, traced: Mapping[str, TracedGroup]
) -> dict[str, list[tuple[int, ...]]]:
    """Of which direction each tap of each consumer is, by the names of the groups whose backward
    units may stand in any order.

    That is where nothing but weights with columns for each direction reads the units: not their
    sums, not their final states, and no constant that has entries for them.
    """
    free = {name: item for name, item in traced.items() if _is_free(trace, item)}
    return {name: [_of_taps(slot, item) for slot in item.consumers] for name, item in free.items()}


def _of_taps(slot: ConsumerSlot, item: TracedGroup) -> tuple[int, ...]:
    """Of which direction each tap is: one of the layer's own weight, both of any other."""
    return (slot.start // len(item.units) % 2,) if _is_own(slot) else (0, 1)


def paired(
    model: ir.Model, traced: Mapping[str, TracedGroup], backward: Mapping[str, Sequence[int]]
) -> ir.Model:
    """A copy of a model in which unit ``backward[name][k]`` of a group's backward direction is
    unit k.
    """
    copy = model.clone()
    names.adopt(copy.graph)
    graphs = (RecursiveGraphIterator(each.graph) for each in (model, copy))
    mine = dict(zip(*graphs, strict=True))
    for name, order in backward.items():
        item, units_in_order = traced[name], np.array(order, np.intp)
        node = item.producers[0].node
        for index in (INPUT, RECURRENCE, BIAS, PEEPHOLES):
            _reorder(Place(mine[node], index), units_in_order)
        for slot in item.consumers:
            if not _is_own(slot):
                _reorder_columns(mine[slot.node], slot, item, units_in_order)
    return copy


def _is_own(slot: ConsumerSlot) -> bool:
    """Whether it is the weight by which a layer reads its own units."""
    return slot.place.index == RECURRENCE and is_recurrent(slot.node)


def _is_free(trace: Trace, item: TracedGroup) -> bool:
    nodes = {slot.node for slot in item.producers}
    node = next(iter(nodes))
    if len(nodes) > 1 or not is_recurrent(node) or directions(node) != 2 or item.filters:
        return False
    entries = [slot.place for slot in trace.slots if np.isin(slot.atoms, item.units).any()]
    own = (RECURRENCE, BIAS, PEEPHOLES)
    readers = [slot for slot in item.consumers if not _is_own(slot)]
    return (
        len(item.units) == units(node)
        and all(place.node is node and place.index in own for place in entries)
        and not any(slot.twins for slot in item.consumers)
        and all(_has_columns_for_both(slot, item) for slot in readers)
        and not any(_is_read(output) for output in node.outputs[1:])
        and _Followed(trace, item, {slot.node: slot for slot in readers}).are_apart(node)
    )


def _has_columns_for_both(slot: ConsumerSlot, item: TracedGroup) -> bool:
    """Whether all outputs of a weight read each unit of both directions once."""
    columns = item.positions(slot.atoms).shape[1]
    return columns == 2 and slot.taps == 1 and len(slot.outputs) == slot.width


def _is_read(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


@dataclass(frozen=True, eq=False)
class _Followed:
    """Follows, on the way to the weights, which numbers are of the backward direction."""

    trace: Trace
    item: TracedGroup
    readers: Mapping[ir.Node, ConsumerSlot]

    def are_apart(self, node: ir.Node) -> bool:
        """Whether what a layer gives comes to some weights as it is but for its shape, and to
        nothing else, each of their columns being of one direction.

        Steps or inputs may have joined the units instead: then a column is of both directions.
        """
        shape = self._sizes(self.trace.shape(node.outputs[0]))
        if shape is None or -1 in shape:
            return False
        backward = np.zeros(shape, bool)
        np.moveaxis(backward, 2 if flag(node, "layout") else 1, 0)[1] = True
        return self._arrives(node.outputs[0], backward)

    def _arrives(self, value: ir.Value, backward: Array) -> bool:
        if value.is_graph_output():
            return False
        return all(
            use.node.op_type == "Shape" or (use.idx == 0 and self._passes(use.node, backward))
            for use in value.uses()
        )

    def _passes(self, node: ir.Node, backward: Array) -> bool:
        slot = self.readers.get(node)
        if slot is not None:
            rows = np.moveaxis(backward, slot.source_axis, -1).reshape(-1, len(slot.atoms))
            first, second = self.item.positions(slot.atoms).T
            return bool(rows[:, second].all() and not rows[:, first].any())
        if node.op_type not in _MOVING or node.domain not in ("", "ai.onnx"):
            return False
        for output in filter(_is_read, node.outputs):
            moved = self._moved(node, output, backward)
            if moved is None or not self._arrives(output, moved):
                return False
        return True

    def _moved(self, node: ir.Node, output: ir.Value, backward: Array) -> Array | None:
        if node.op_type == "Transpose":
            order = node.attributes.get("perm")
            return backward.transpose(None if order is None else list(order.as_ints()))
        shape = self._sizes(self.trace.shape(output))
        if shape is None or shape.count(-1) > 1:
            return None
        rest = math.prod(size for size in shape if size != -1)
        fits = rest > 0 and backward.size % rest == 0 and (-1 in shape or backward.size == rest)
        return backward.reshape(shape) if fits else None

    @cached_property
    def _open(self) -> Mapping[Dim, int]:
        """Any sizes, no two alike, for those that are not known of what the layer gives."""
        given = self.trace.shape(self.item.producers[0].node.outputs[0]) or ()
        names = dict.fromkeys(size for size in given if not isinstance(size, int))
        return dict(zip(names, (3, 5, 7), strict=False))

    def _sizes(self, shape: Sequence[Dim] | None) -> list[int] | None:
        """A shape in numbers; -1 for what is not known."""
        if shape is None:
            return None
        return [size if isinstance(size, int) else self._open.get(size, -1) for size in shape]


def _reorder(place: Place, order: IntArray) -> None:
    """Put the backward entries of a weight or bias of the layer itself into another order."""
    if place.value is None:
        return
    array = np.array(constants.array(place.value))
    runs = array.shape[1] // len(order)
    array[1] = array[1][(np.arange(runs)[:, None] * len(order) + order).ravel()]
    if place.index == RECURRENCE:
        array[1] = array[1][:, order]
    constants.replace(place, array)


def _reorder_columns(node: ir.Node, slot: ConsumerSlot, item: TracedGroup, order: IntArray) -> None:
    """Put the backward columns of what reads the layer into another order."""
    place = Place(node, slot.place.index)
    array = constants.array(place.value)
    assert array is not None
    columns = np.arange(array.shape[slot.axis])
    second = item.positions(slot.atoms)[:, 1]
    columns[second] = columns[second[order]]
    constants.replace(place, np.take(array, columns, axis=slot.axis))
