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
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.base import Known, elements
from nmcore_onnx.trace.operators.weighted import Weighted, add_to
from nmcore_onnx.trace.recurrent import probes
from nmcore_onnx.trace.recurrent.initial_states import follow_initial
from nmcore_onnx.trace.recurrent.layout import (
    BIAS,
    DATA,
    HIDDEN,
    INPUT,
    NEW,
    PEEPHOLES,
    RECURRENCE,
    directions,
    half,
    resets_before,
)
from nmcore_onnx.trace.recurrent.rows import rows
from nmcore_onnx.trace.slots import ConsumerSlot, ProducerSlot

# Directions and gates are the rows, what is read the columns.
ROWS, COLUMNS = (0, 1), 2


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
            follow_initial(node, index, Channels(2, made.atoms), trace)

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
        units, count = len(atoms), directions(node)
        parts = []
        for direction in range(count):
            first, last = (units * self._gates * (direction + k) for k in (0, 1))
            middle = first + units * NEW if resets_before(node) else last
            parts.append((direction * units, range(first, middle)))
            if middle < last:
                parts.append(((count + direction) * units, range(middle, last)))
        copies = count * (1 + resets_before(node))
        channels = Channels(2, np.tile(atoms, copies))
        source = node.outputs[0]
        trace.consume_parts(node, RECURRENCE, COLUMNS, ROWS, channels, parts, source)

    # the weights

    def rows(self, slot: ProducerSlot) -> FloatArray:
        """All that makes the units, as (gates * H, numbers)."""
        return rows(slot.node, self._initial)

    def offsets(self, node: ir.Node, width: int) -> FloatArray | None:
        """None: :meth:`rows` hold them."""
        return None

    def bias(self, node: ir.Node, width: int, index: int) -> FloatArray | None:
        """The half of the biases that belongs to W, or to R, shape (directions * gates * H,)."""
        place = Place(node, BIAS)
        if place.value is None:
            return None
        halves = read(place).reshape(directions(node), 2, -1)
        return halves[:, half(index)].reshape(-1)

    def add_bias(self, node: ir.Node, addition: FloatArray, index: int) -> ir.Value | None:
        """Add to one half of the biases; the other is zero where there was none."""
        place, count = Place(node, BIAS), directions(node)
        parts = np.zeros((count, 2, addition.size // count), addition.dtype)
        parts[:, half(index)] = addition.reshape(count, -1)
        both = parts.reshape(count, -1)
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
        return probes.read_states(build, node)

    def product(self, build: Builder, node: ir.Node, index: int, output: ir.Value) -> ir.Value:
        """What W or R gives with its bias; see :func:`probes.product`."""
        return probes.product(build, node, index, super().data(build, node, INPUT), self._gates)

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
