"""Layers that go both ways: which unit of each direction make one channel.

Both directions have as many units, but those of one have nothing to do with those of the other:
what reads them has columns for each. So the backward units may stand in any order, once the rows
and columns that are theirs do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from nmcore.group import IntArray
from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.constants import Place
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
    return {
        name: [(slot.start // len(item.units) % 2,) if _is_own(slot) else (0, 1) for slot in slots]
        for name, item in traced.items()
        if _is_free(trace, item)
        for slots in [item.consumers]
    }


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
        # Where there are two steps, or inputs, columns might be theirs.
        and 2 not in (trace.shape(node.outputs[0]) or (2,))[0:3:2]
        and not any(_is_read(output) for output in node.outputs[1:])
        and _only_moves(node.outputs[0], {slot.node for slot in readers})
    )


def _has_columns_for_both(slot: ConsumerSlot, item: TracedGroup) -> bool:
    """Whether all outputs of a weight read each unit of both directions once."""
    columns = item.positions(slot.atoms).shape[1]
    return columns == 2 and slot.taps == 1 and len(slot.outputs) == slot.width


def _is_read(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _only_moves(value: ir.Value, readers: set[ir.Node]) -> bool:
    """Whether a value comes to some weights, as it is but for its shape, and to nothing else."""
    if value.is_graph_output():
        return False
    return all(
        (use.node in readers and use.idx == 0)
        or use.node.op_type == "Shape"
        or (
            use.node.op_type in _MOVING
            and use.node.domain in ("", "ai.onnx")
            and use.idx == 0
            and all(_only_moves(output, readers) for output in use.node.outputs)
        )
        for use in value.uses()
    )


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
