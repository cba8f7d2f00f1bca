"""Changed weights, kept until the result is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nmcore.arrays.absorption import absorb
from nmcore.group import FloatArray, IntArray, Scaling
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.arrays import Masks, as_matrix, compact, cut, from_matrix, read
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.storage.disk_cache import DiskCache
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.slots import ConsumerSlot


def _part(rows: IntArray, columns: IntArray, shape: tuple[int, ...]) -> Any:
    """An index for some rows and some columns of an array."""
    some_rows, some_columns = compact(rows, shape[0]), compact(columns, shape[1])
    if isinstance(some_rows, slice) or isinstance(some_columns, slice):
        return some_rows, some_columns
    return np.ix_(rows, columns)


@dataclass(frozen=True, eq=False)
class Changed:
    """A weight that has been changed; where all but some columns became zero, these alone are kept.

    Attributes
    ----------
    stored : callable
        Gives what is kept, without what masks of other axes leave out.
    columns : array of int, or None
        Where it belongs, in ascending order; None where it is the whole weight.
    axis, width : int
        The axis of the columns, and how many there are in all.
    """

    stored: Callable[[Masks], FloatArray]
    columns: IntArray | None = None
    axis: int = 0
    width: int = 0

    def whole(self) -> FloatArray:
        """The weight at full width."""
        found = self.stored({})
        if self.columns is None:
            return found
        shape = list(found.shape)
        shape[self.axis] = self.width
        full = np.zeros(shape, found.dtype)
        np.moveaxis(full, self.axis, 0)[self.columns] = np.moveaxis(found, self.axis, 0)
        return full

    def cut(self, masks: Masks) -> FloatArray:
        """:func:`cut` of the weight; zeros that it leaves out are never made."""
        kept = masks.get(self.axis)
        if (
            self.columns is None
            or kept is None
            or not np.array_equal(np.flatnonzero(kept), self.columns)
        ):
            return cut(self.whole(), masks)
        return self.stored({axis: mask for axis, mask in masks.items() if axis != self.axis})


@dataclass(eq=False)
class Ledger:
    """What has been changed: whole weights, and additions to the biases beside them, by place.

    Attributes
    ----------
    weights : dict of Place to Changed
        Each changed weight.
    biases : dict of Place to dict of group name to array, shape (O,)
        What each group adds to the bias of the weight at a place.
    cache : DiskCache
        Holds the changed weights.
    """

    weights: dict[Place, Changed] = field(default_factory=dict)
    biases: dict[Place, dict[str, FloatArray]] = field(default_factory=dict)
    cache: DiskCache = field(default_factory=DiskCache)

    def __bool__(self) -> bool:
        """Whether anything has been changed."""
        return bool(self.weights or self.biases)

    def copy(self) -> Ledger:
        """The same changes; further ones to either are not seen by the other.

        They go to caches of their own, whose memory is free again once a copy is given up.
        """
        return Ledger(
            dict(self.weights), {place: dict(each) for place, each in self.biases.items()}
        )

    def at(self, place: Place) -> FloatArray:
        """The weight at a place as it is now, at full width."""
        changed = self.weights.get(place)
        return read(place) if changed is None else changed.whole()

    def matrix(self, slot: ConsumerSlot) -> FloatArray:
        """A consumer's weight as (O, columns, taps), as it acts: Gemm's alpha multiplied in."""
        array = self.at(slot.place)
        full = as_matrix(array, slot.rows, slot.axis)[slot.outputs.start : slot.outputs.stop]
        factor = operators.weighted(slot.node).factor(slot.node)
        return full if factor == 1 else full * array.dtype.type(factor)

    def write(
        self,
        slot: ConsumerSlot,
        rows: IntArray,
        columns: IntArray,
        block: FloatArray,
        cleared: IntArray | None = None,
    ) -> None:
        """Replace some rows and columns of what :meth:`matrix` gives by another block.

        These rows of the ``cleared`` columns become zero before.
        """
        before = self.at(slot.place)
        everything = slot.width, before.shape[slot.axis]
        factor = operators.weighted(slot.node).factor(slot.node)
        block = (block if factor == 1 else block / before.dtype.type(factor)).astype(before.dtype)
        if cleared is not None and (len(rows), len(cleared)) == everything:
            self.weights[slot.place] = self._only(slot, columns, block, before.shape)
            return
        matrix = as_matrix(before, slot.rows, slot.axis).copy()
        if cleared is not None:
            matrix[_part(rows + slot.outputs.start, cleared, matrix.shape)] = 0
        part = _part(rows + slot.outputs.start, columns, matrix.shape)
        matrix[part] = block.reshape(len(rows), len(columns), -1)
        array = from_matrix(matrix, slot.rows, slot.axis, before.shape)
        self.weights[slot.place] = Changed(self._put(array))

    def absorb(self, slot: ConsumerSlot, owned: IntArray, scaling: Scaling) -> bool:
        """Fold Z into a whole weight whenever it is asked for, so that nothing need be kept.

        That takes an original weight whose every column belongs to the channels, ``owned`` (N, r).
        Where it is not one, nothing is done, and the answer is False.
        """
        shape = constants.shape(slot.place.value)
        assert shape is not None
        whole = (len(slot.outputs), owned.size) == (slot.width, shape[slot.axis])
        if not whole or slot.place in self.weights or scaling.shift is not None:
            return False
        constant = operators.weighted(slot.node).factor(slot.node)
        columns = owned[scaling.kept].ravel()

        def stored(masks: Masks) -> FloatArray:
            array = cut(read(slot.place), masks)
            matrix = as_matrix(array, slot.rows, slot.axis)[:, compact(owned.ravel(), owned.size)]
            factor = array.dtype.type(constant)
            matrix = matrix if constant == 1 else matrix * factor
            block, _ = absorb(matrix.reshape(len(matrix), len(owned), -1), scaling)
            block = (block if constant == 1 else block / factor).astype(array.dtype, copy=False)
            return _arranged(slot, columns, block, array.shape)

        self.weights[slot.place] = Changed(stored, np.sort(columns), slot.axis, shape[slot.axis])
        return True

    def _only(
        self, slot: ConsumerSlot, columns: IntArray, block: FloatArray, shape: tuple[int, ...]
    ) -> Changed:
        """A weight that is zero but for some columns."""
        array = _arranged(slot, columns, block, shape)
        return Changed(self._put(array), np.sort(columns), slot.axis, shape[slot.axis])

    def _put(self, array: FloatArray) -> Callable[[Masks], FloatArray]:
        """Keep an array in memory or on disk."""
        found = self.cache.put(array)
        return lambda masks: cut(found(), masks)

    def add_bias(self, place: Place, group: str, addition: FloatArray) -> None:
        """Add to the bias of the weight at a place on behalf of a group."""
        known = self.biases.setdefault(place, {})
        known[group] = known[group] + addition if group in known else addition

    def bias(self, place: Place) -> FloatArray | None:
        """What all groups add to the bias of the weight at a place; None where that is nothing."""
        additions = list(self.biases.get(place, {}).values())
        return sum(additions[1:], start=additions[0]) if additions else None

    def without(self, undone: Mapping[str, list[tuple[ConsumerSlot, IntArray]]]) -> Ledger:
        """All changes but those of some groups, whose consumers get their own columns back.

        Parameters
        ----------
        undone : mapping of group name to list of (slot, columns)
        """
        biases = {
            place: {group: array for group, array in each.items() if group not in undone}
            for place, each in self.biases.items()
        }
        result = Ledger(dict(self.weights), biases, self.cache)
        for slot, columns in (pair for pairs in undone.values() for pair in pairs):
            original = Ledger().matrix(slot)[:, columns]
            result.write(slot, np.arange(len(slot.outputs)), columns, original)
        return result


def _arranged(
    slot: ConsumerSlot, columns: IntArray, block: FloatArray, shape: tuple[int, ...]
) -> FloatArray:
    """Some columns of a weight of this shape, (rows, columns * taps), in its order and axes."""
    order = np.argsort(columns)
    block = block.reshape(math.prod(shape[axis] for axis in slot.rows), len(columns), -1)
    if (np.diff(order) < 0).any():
        block = block[:, order]
    left = list(shape)
    left[slot.axis] = len(columns)
    return from_matrix(block, slot.rows, slot.axis, tuple(left))
