"""LSTM, GRU and RNN: weights W (directions, gates * H, I) and R (directions, gates * H, H).

A hidden unit is one channel of all gates: it owns rows of W and R, entries of the biases, of the
peepholes and of the states, and columns of R. Both directions of a layer have the same number of
units, as their outputs are one array: unit k of one goes or stays with unit k of the other.

R reads what the layer itself has made one step before. It is a consumer of the units like any
other, with outputs of each direction that read that direction's own state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray, IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.arrays import as_matrix, from_matrix, read
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import flag
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.trace import states
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.base import Known, elements
from nmcore_onnx.trace.operators.weighted import Weighted, add_to
from nmcore_onnx.trace.slots import ConsumerSlot, ProducerSlot

DATA, INPUT, RECURRENCE, BIAS, HIDDEN, CELL, PEEPHOLES = 0, 1, 2, 3, 5, 6, 7
# Directions and gates are the rows, what is read the columns.
ROWS, COLUMNS = (0, 1), 2
# A GRU's gates are update, reset and the new state.
RESET, NEW = 1, 2


class Recurrent(Weighted):
    """A recurrent layer over data (steps, batch, I), or (batch, steps, I) where layout is 1."""

    rank = 3
    bias_input = BIAS
    output_axis = None

    def __init__(self, op_type: str, gates: int, initial: Sequence[int] = (HIDDEN,)) -> None:
        self.op_type = op_type
        self._gates = gates
        self._initial = initial

    @property
    def parameters(self) -> tuple[int, ...]:
        """W, R, the biases and an LSTM's peepholes."""
        return INPUT, RECURRENCE, BIAS, PEEPHOLES

    def axes(self, node: ir.Node) -> tuple[int, int]:
        """Gates on axis 1, columns on axis 2."""
        return 1, COLUMNS

    def input_axis(self, node: ir.Node) -> int:
        """Features are the last of three axes, whatever the layout."""
        return 2

    def positions(self, node: ir.Node, shapes: Shapes) -> int:
        """Every step of every sequence is one."""
        steps = shapes.get(getattr(node.inputs[DATA], "name", "") or "", ())[:2]
        return math.prod(size for size in steps if isinstance(size, int))

    # the trace

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """W reads the data; R reads the units that both make, one step later."""
        if not self._is_followed(node, trace):
            return
        self.consume(node, trace)
        made = trace.produce(node, Place(node, INPUT), 1, COLUMNS, axis=3, runs=self._gates)
        self._slice(node, trace, RECURRENCE, made.atoms, self._gates)
        self._slice(node, trace, BIAS, made.atoms, 2 * self._gates)
        self._slice(node, trace, PEEPHOLES, made.atoms, 3)
        self._consume_state(node, trace, made.atoms)
        if "hidden_size" in node.attributes:
            trace.count(node, "hidden_size", made.atoms)
        for output in range(1, len(node.outputs)):
            trace.carry(node, Channels(2, made.atoms), output)
        for index in self._initial:
            states.follow_initial(node, index, Channels(2, made.atoms), trace)

    def consume(self, node: ir.Node, trace: Trace) -> None:
        """W reads channels on the last axis of the data."""
        channels = trace.at(node, DATA)
        if channels is not None and channels.axis != self.input_axis(node):
            trace.decline(node, channels, "which reads them along another axis")
        elif channels is not None:
            trace.consume(node, INPUT, COLUMNS, ROWS, channels)

    def _is_followed(self, node: ir.Node, trace: Trace) -> bool:
        """Whether all weights are constants of the shapes that they must have."""
        if not self.is_constant(node, trace):
            return False
        parts = [Place(node, index).value for index in (RECURRENCE, PEEPHOLES)]
        first, second = (constants.shape(node.inputs[index]) for index in (INPUT, RECURRENCE))
        reason = None
        if not all(constants.is_float(value) for value in parts if value is not None):
            reason = "its recurrent weights are computed while the model runs"
        elif second is None or first is None or first[:2] != second[:2]:
            reason = "its weights do not fit each other"
        elif second[1] != self._gates * second[2] or len(second) != self.rank:
            reason = "its recurrent weights are not square"
        if reason is not None:
            trace.decline_inputs(node, f"but {reason}")
            trace.leave(node, reason)
        return reason is None

    def _slice(self, node: ir.Node, trace: Trace, index: int, atoms: IntArray, runs: int) -> None:
        if Place(node, index).value is not None:
            trace.slice(node, index, 1, Channels(1, atoms, outer=runs))

    def _consume_state(self, node: ir.Node, trace: Trace, atoms: IntArray) -> None:
        """R reads what :meth:`data` gives: the units of each direction, side by side.

        A GRU may multiply them by its reset gate before the last third of R reads them: then they
        stand there again, so multiplied.
        """
        units, directions = len(atoms), self._directions(node)
        parts = []
        for direction in range(directions):
            first, last = (units * self._gates * (direction + k) for k in (0, 1))
            middle = first + units * NEW if self._resets_before(node) else last
            parts.append((direction * units, range(first, middle)))
            if middle < last:
                parts.append(((directions + direction) * units, range(middle, last)))
        copies = directions * (1 + self._resets_before(node))
        channels = Channels(2, np.tile(atoms, copies))
        source = node.outputs[0]
        trace.consume_parts(node, RECURRENCE, COLUMNS, ROWS, channels, parts, source)

    def _directions(self, node: ir.Node) -> int:
        return (constants.shape(node.inputs[INPUT]) or (1,))[0]

    def _resets_before(self, node: ir.Node) -> bool:
        return self.op_type == "GRU" and not flag(node, "linear_before_reset")

    # the weights

    def rows(self, slot: ProducerSlot) -> FloatArray:
        """All that makes the units, as (gates * H, numbers): W, R, biases, peepholes, states.

        What belongs to a unit as a whole stands in the rows of its first gates.
        """
        node = slot.node
        weights = [read(Place(node, index)) for index in (INPUT, RECURRENCE)]
        rows = weights[0].shape[1]
        parts = [np.moveaxis(weight, 1, 0).reshape(rows, -1) for weight in weights]
        parts += self._bias_columns(node, rows)
        if Place(node, PEEPHOLES).value is not None:
            parts.append(_in_first_rows(read(Place(node, PEEPHOLES)).T, rows))
        for index in self._initial:
            found = states.initial_constant(Place(node, index).value, rows // self._gates)
            if found is not None:
                parts.append(_in_first_rows(found, rows))
        return np.concatenate(parts, axis=1)

    def _bias_columns(self, node: ir.Node, rows: int) -> list[FloatArray]:
        """The two biases, added up where the operator adds them; each (gates * H, directions)."""
        if Place(node, BIAS).value is None:
            return []
        first, second = read(Place(node, BIAS)).reshape(-1, 2, rows).transpose(1, 2, 0)
        if self.op_type != "GRU" or self._resets_before(node):
            return [first + second]
        # What comes to the new state from R is multiplied by the reset gate, its bias included.
        apart = np.arange(rows)[:, None] >= NEW * rows // self._gates
        zero = second.dtype.type(0)
        return [first + np.where(apart, zero, second), np.where(apart, second, zero)]

    def offsets(self, node: ir.Node, width: int) -> FloatArray | None:
        """None: :meth:`rows` hold them."""
        return None

    def bias(self, node: ir.Node, width: int, index: int) -> FloatArray | None:
        """The half of the biases that belongs to W, or to R, shape (directions * gates * H,)."""
        place = Place(node, BIAS)
        if place.value is None:
            return None
        halves = read(place).reshape(self._directions(node), 2, -1)
        return halves[:, _half(index)].reshape(-1)

    def add_bias(self, node: ir.Node, addition: FloatArray, index: int) -> ir.Value | None:
        """Add to one half of the biases; the other is zero where there was none."""
        place, directions = Place(node, BIAS), self._directions(node)
        parts = np.zeros((directions, 2, addition.size // directions), addition.dtype)
        parts[:, _half(index)] = addition.reshape(directions, -1)
        both = parts.reshape(directions, -1)
        if place.value is None:
            dtype = constants.dtype(node.inputs[INPUT])
            name = f"{node.name or node.outputs[0].name}.bias"
            constants.insert(place, name, both.astype(dtype))
        else:
            add_to(place, both)
        return None

    def rebuild(self, node: ir.Node, slot: ConsumerSlot, matrix: FloatArray, tag: str) -> None:
        """R is multiplied by the matrix, as its data never leaves the node."""
        if slot.place.index != RECURRENCE:
            super().rebuild(node, slot, matrix, tag)
            return
        place = Place(node, RECURRENCE)
        weight = read(place)
        rows = as_matrix(weight, ROWS, COLUMNS).copy()
        units = slice(slot.start, slot.start + len(slot.atoms))
        own = slice(slot.outputs.start, slot.outputs.stop)
        rows[own, :, 0] = rows[own, :, 0] @ matrix[units, units].T
        array = from_matrix(rows, ROWS, COLUMNS, weight.shape)
        constants.replace(place, array.astype(constants.dtype(place.value)))

    # probes

    def data(self, build: Builder, node: ir.Node, index: int) -> ir.Value:
        """The node's data, or the states (steps, batch, units of :meth:`_consume_state`)."""
        if index == INPUT:
            return super().data(build, node, index)
        found = states.previous(build, node, self._directions(node))
        if self._resets_before(node):
            gates = [self._reset(build, node, each, k) for k, each in enumerate(found)]
            found += [build.node("Mul", *pair) for pair in zip(found, gates, strict=True)]
        return found[0] if len(found) == 1 else build.node("Concat", *found, axis=2)

    def product(self, build: Builder, node: ir.Node, index: int, output: ir.Value) -> ir.Value:
        """What W or R gives with its bias: (steps, batch, directions * gates * H), or with the
        first two axes as the data has them.
        """
        directions = self._directions(node)
        units = (constants.shape(node.inputs[RECURRENCE]) or ())[2]
        if index == INPUT:
            value = self.data(build, node, index)
            parts = [(value, d, 0, self._gates) for d in range(directions)]
        else:
            found = states.previous(build, node, directions)
            last = NEW if self._resets_before(node) else self._gates
            parts = []
            for direction, state in enumerate(found):
                parts.append((state, direction, 0, last))
                if last < self._gates:
                    gate = self._reset(build, node, state, direction)
                    state = build.node("Mul", state, gate)
                    parts.append((state, direction, last, self._gates))
        values = [
            states.product(build, node, index, state, direction, units, slice(first, last))
            for state, direction, first, last in parts
        ]
        return values[0] if len(values) == 1 else build.node("Concat", *values, axis=2)

    def _reset(self, build: Builder, node: ir.Node, state: ir.Value, direction: int) -> ir.Value:
        """The reset gate of a GRU, (steps, batch, H), for the state before each step."""
        units = (constants.shape(node.inputs[RECURRENCE]) or ())[2]
        gate, data = slice(RESET, RESET + 1), node.inputs[DATA]
        assert data is not None
        read_data = states.product(build, node, INPUT, data, direction, units, gate)
        if flag(node, "layout"):
            read_data = build.node("Transpose", read_data, perm=[1, 0, 2])
        read_state = states.product(build, node, RECURRENCE, state, direction, units, gate)
        total = build.node("Add", read_data, read_state)
        return states.gate_activation(build, node, total, direction)

    def unfold(
        self, build: Builder, node: ir.Node, index: int, value: ir.Value, length: int, step: int = 1
    ) -> ir.Value:
        """Each step of each sequence is a row."""
        return build.every(build.rows(value, 2, 3, length), step)

    def output_rows(
        self, build: Builder, slot: ConsumerSlot, value: ir.Value, chosen: IntArray, step: int = 1
    ) -> ir.Value:
        """Some outputs of what :meth:`product` gives."""
        if not np.array_equal(chosen, np.arange(slot.width)):
            value = build.node("Gather", value, build.ints(*chosen.tolist()), axis=2)
        return build.every(build.rows(value, 2, 3, len(chosen)), step)

    # the cost

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """Each step multiplies the input and the state with their gates' weights."""
        return sum(self.macs_of(node, index, inputs, output) for index in (INPUT, RECURRENCE))

    def macs_of(self, node: ir.Node, index: int, inputs: Sequence[Known], output: Known) -> int:
        """Each step multiplies what the weight reads with all of it."""
        if index not in (INPUT, RECURRENCE):
            return 0
        data = inputs[DATA]
        if data is None:
            raise TypeError("data whose shape is not known")
        return elements(data[:2]) * elements(inputs[index])


def _half(index: int) -> int:
    """Which half of the biases belongs to the weight at input ``index``."""
    return 0 if index == INPUT else 1


def _in_first_rows(numbers: FloatArray, rows: int) -> FloatArray:
    """Numbers (n, m) as the first rows of (rows, m), with zeros below."""
    result = np.zeros((rows, numbers.shape[1]), numbers.dtype)
    result[: len(numbers)] = numbers
    return result
