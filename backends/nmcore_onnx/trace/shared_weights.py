"""Weights that several nodes share: towers of one network, heads on a pyramid, repeated layers.

All readers of such a weight lose the same rows and columns, so that it stays one weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.slots import ConsumerSlot, ProducerSlot


def tie(trace: Trace) -> None:
    """Let all readers of a weight keep the same channels, or freeze them where they differ.

    The first reader's :class:`ConsumerSlot` then stands for all; the others are its ``twins``.
    """
    makers, readers = _by_weight(trace.producers), _by_weight(trace.consumers)
    twins: dict[ConsumerSlot, tuple[ConsumerSlot, ...]] = {}
    for weight in dict.fromkeys([*makers, *readers]):
        made, read = makers[weight], readers[weight]
        places = constants.readers(weight)
        if len(places) == 1:
            continue
        reason = f"its channels touch the weight {weight.name!r} that several nodes share"
        if _alike(made, places):
            _unite(trace, made)
        else:
            _freeze(trace, made, reason)
        parts = _by_outputs(read)
        if all(_alike(part, places) for part in parts):
            for part in parts:
                _unite(trace, part)
                twins[part[0]] = tuple(part[1:])
        else:
            _freeze(trace, read, reason)
    others = {twin for group in twins.values() for twin in group}
    trace.consumers = [
        replace(slot, twins=twins.get(slot, ())) for slot in trace.consumers if slot not in others
    ]


S = TypeVar("S", ProducerSlot, ConsumerSlot)


def _by_weight(slots: Sequence[S]) -> defaultdict[ir.Value, list[S]]:
    found: defaultdict[ir.Value, list[S]] = defaultdict(list)
    for slot in slots:
        weight = constants.source(slot.place.value)
        assert weight is not None
        found[weight].append(slot)
    return found


def _by_outputs(slots: Sequence[ConsumerSlot]) -> list[list[ConsumerSlot]]:
    """The slots of each part of a weight, whose outputs read the same run of channels."""
    found: defaultdict[range, list[ConsumerSlot]] = defaultdict(list)
    for slot in slots:
        found[slot.outputs].append(slot)
    return list(found.values())


def _alike(slots: Sequence[ProducerSlot | ConsumerSlot], places: Sequence[Place]) -> bool:
    """Whether every reader uses the weight in the same way, once."""
    nodes = [id(slot.place.node) for slot in slots]
    if sorted(nodes) != sorted(id(place.node) for place in places):
        return False
    return all(_way(slot) == _way(slots[0]) for slot in slots[1:])


def _way(slot: ProducerSlot | ConsumerSlot) -> tuple[object, ...]:
    axes = slot.rows if isinstance(slot, ConsumerSlot) else (slot.columns,)
    factor = operators.weighted(slot.node).factor(slot.node)
    return (slot.node.op_type, slot.axis, *axes, len(slot.atoms), factor)


def _freeze(
    trace: Trace, slots: Sequence[ProducerSlot] | Sequence[ConsumerSlot], reason: str
) -> None:
    for slot in slots:
        trace.freeze(slot.atoms, reason)


def _unite(trace: Trace, slots: Sequence[ProducerSlot] | Sequence[ConsumerSlot]) -> None:
    for slot in slots[1:]:
        trace.atoms.unite(slots[0].atoms, slot.atoms)
