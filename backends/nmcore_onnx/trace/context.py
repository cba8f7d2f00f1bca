"""The state of a trace: the channels of every value, and every place that they touch.

The trace walks the nodes once in topological order and hands each to the rule of its operator
(:mod:`nmcore_onnx.trace.rules`). A rule may

* :meth:`~Trace.produce` fresh channels,
* :meth:`~Trace.carry` those of an input to an output,
* :meth:`~Trace.join` those of two inputs, which are then kept or removed together,
* :meth:`~Trace.slice` a constant together with them,
* let a weight :meth:`~Trace.consume` them,
* or :meth:`~Trace.decline` them with a reason; an operator without a rule always does.

Nothing is guessed: channels that reach a place which no rule understands stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constant_folding import folded_shape
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.defaults import is_overridable
from nmcore_onnx.ir.nodes import label
from nmcore_onnx.ir.types import Dim, Shapes
from nmcore_onnx.shapes.shape_values import Entry
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.slots import (
    ConsumerSlot,
    CountSlot,
    FilterSlot,
    IndexSlot,
    Past,
    ProducerSlot,
    Slot,
    StepSlot,
    TakeSlot,
    ZeroSlot,
)
from nmcore_onnx.trace.union_find import UnionFind


@dataclass(eq=False)
class Trace:
    """What is known of a graph's channels so far; rules and adapters ask it and add to it."""

    graph: ir.Graph
    shapes: Shapes
    opens_states: bool = False
    channels: dict[ir.Value, Channels] = field(default_factory=dict)
    producers: list[ProducerSlot] = field(default_factory=list)
    consumers: list[ConsumerSlot] = field(default_factory=list)
    filters: list[FilterSlot] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    counts: list[CountSlot] = field(default_factory=list)
    indices: list[IndexSlot] = field(default_factory=list)
    steps: list[StepSlot] = field(default_factory=list)
    takes: list[TakeSlot] = field(default_factory=list)
    zeros: list[ZeroSlot] = field(default_factory=list)
    states: dict[ir.Value, ir.Value | None] = field(default_factory=dict)
    pasts: Mapping[ir.Value, Past] = field(default_factory=dict)
    left: dict[ir.Node, str] = field(default_factory=dict)
    atoms: UnionFind = field(default_factory=UnionFind)
    reasons: dict[int, str] = field(default_factory=dict)
    settled: set[tuple[ir.Node, int]] = field(default_factory=set)
    visited: set[ir.Node] = field(default_factory=set)
    handed_over: set[ir.Value] = field(default_factory=set)
    _taken: set[int] = field(default_factory=set)
    _checks: list[Callable[[], None]] = field(default_factory=list)

    # what a rule asks

    def at(self, node: ir.Node, index: int = 0) -> Channels | None:
        """The channels that arrive at an input, or None."""
        if index >= len(node.inputs):
            return None
        value = node.inputs[index]
        return self.channels.get(value) if value is not None else None

    def shape(self, value: ir.Value | None) -> tuple[Dim, ...] | None:
        """The shape of a value: names stand for dynamic axes; None where not even the rank is
        known.
        """
        return self.shapes.get(value.name or "") if value is not None else None

    def size(self, value: ir.Value | None, axis: int) -> int | None:
        """The length of an axis, where it is known as a number."""
        shape = self.shape(value)
        size = shape[axis] if shape is not None and axis < len(shape) else None
        return size if isinstance(size, int) else None

    def same(self, one: Channels, other: Channels) -> bool:
        """Whether both have the same owners in the same order, wherever their axes are."""
        if one.length is not None and one.length == other.length:
            a, b = one.expand(one.length), other.expand(one.length)
            assert a is not None
            assert b is not None
            return np.array_equal(self.atoms.roots(a), self.atoms.roots(b))
        return (one.outer, one.inner) == (other.outer, other.inner) and np.array_equal(
            self.atoms.roots(one.atoms), self.atoms.roots(other.atoms)
        )

    # what a rule says

    def produce(
        self, node: ir.Node, place: Place, rows: int, columns: int, axis: int, runs: int = 1
    ) -> Channels:
        """The rows of a weight make fresh channels on ``axis`` of the node's output.

        Where the rows are several ``runs`` of the same channels, as the gates of a recurrent layer,
        each channel owns one row in each.
        """
        found = constants.shape(place.value)
        assert found is not None
        atoms = self.atoms.fresh(found[rows] // runs)
        self.producers.append(ProducerSlot(node, place, rows, columns, np.tile(atoms, runs), runs))
        for index, slot in enumerate(self.consumers):
            if slot.node is node:
                self.consumers[index] = replace(slot, made=np.tile(atoms, slot.width // len(atoms)))
        made = Channels(axis, atoms)
        self.carry(node, made)
        return made

    def carry(self, node: ir.Node, channels: Channels, output: int = 0) -> None:
        """The channels go on, on ``channels.axis`` of an output, unless it cannot have them."""
        value = node.outputs[output]
        shape = self.shape(value)
        if shape is not None and channels.axis >= len(shape):
            self.decline(node, channels, f"whose output {value.name!r} has {len(shape)} axes")
        else:
            self.channels[value] = channels

    def join(self, one: Channels, other: Channels, *, gate: bool = False) -> Channels | None:
        """Two values are matched position by position; None where they do not fit.

        What :meth:`take` gives is only matched where one is a ``gate`` of the other; else all stay.
        """
        if one.axis != other.axis:
            return None
        if not gate and (self._is_taken(one) or self._is_taken(other)):
            for each in (one, other):
                self.freeze(each.atoms, "its channels meet values that a norm keeps whole")
        alike = (one.outer, one.inner) == (other.outer, other.inner)
        if alike and len(one.atoms) == len(other.atoms):
            self.atoms.unite(one.atoms, other.atoms)
            return one
        length = one.length if one.length is not None else other.length
        a, b = (None, None) if length is None else (one.expand(length), other.expand(length))
        if a is None or b is None:
            return None
        self.atoms.unite(a, b)
        return Channels(one.axis, a)

    def slice(self, node: ir.Node, index: int, axis: int, channels: Channels) -> None:
        """Input ``index`` is a constant that is cut along ``axis`` with the channels."""
        place = Place(node, index)
        found = folded_shape(place.value)
        length = found[axis] if found is not None and axis < len(found) else None
        atoms = channels.expand(length) if length is not None else None
        if atoms is None:
            self.decline(node, channels, f"its input {index} does not fit the channels")
        else:
            self.slots.append(Slot(place, axis, atoms))

    def filter(self, node: ir.Node, index: int, groups: IntArray, made: IntArray) -> None:
        """The channels pass a weight in groups: ``groups`` owns these, ``made`` its filters."""
        self.filters.append(FilterSlot(node, Place(node, index), groups, made))

    def count(
        self,
        node: ir.Node,
        place: Place | str,
        atoms: IntArray | None,
        position: int | None = None,
        path: tuple[ir.Node, ...] = (),
        computed: IntArray | None = None,
    ) -> None:
        """A number that ``node`` reads counts the positions that ``atoms`` owns."""
        self.counts.append(CountSlot(node, place, position, atoms, path, computed))

    def resize(self, node: ir.Node, entry: Entry, atoms: IntArray) -> None:
        """An entry of the sizes that a node reads counts the positions that ``atoms`` owns."""
        assert entry.place is not None
        self.count(node, entry.place, atoms, entry.position, entry.path, entry.computed)

    def settle(self, node: ir.Node, index: int, target: Sequence[Entry]) -> None:
        """All sizes that a node reads are understood: those computed will be constants.

        What was computed from the number of channels then does not change with it.
        """
        if any(entry.is_unknown for entry in target):
            return
        parts = [entry if entry.product is None else entry.product[1] for entry in target]
        for entry in parts:
            counted = any(
                slot.node is node and (slot.place, slot.position) == (entry.place, entry.position)
                for slot in self.counts
            )
            if entry.computed is not None and entry.place is not None and not counted:
                self.count(node, entry.place, None, entry.position, entry.path, entry.computed)
        self.settled.add((node, index))

    def pick(self, node: ir.Node, index: int, atoms: IntArray) -> None:
        """Input ``index`` holds constant indices into the positions that ``atoms`` owns."""
        self.indices.append(IndexSlot(Place(node, index), atoms))

    def step(self, node: ir.Node, channels: Channels, picked: IntArray) -> None:
        """Only some positions of the channel axis go on, in a regular order."""
        atoms = channels.owners()
        assert atoms is not None
        self.steps.append(StepSlot(node, channels.axis, atoms, picked))
        self.carry(node, Channels(channels.axis, atoms[picked]))

    def take(self, node: ir.Node, axis: int, length: int) -> None:
        """All channels reach ``node`` and stay; behind it others decide which are needed.

        What it gives can be matched with channels that go; then the same ones are taken of it.
        """
        made = Channels(axis, self.atoms.fresh(length))
        self.takes.append(TakeSlot(node, axis, made.atoms))
        self._taken.update(made.atoms.tolist())
        self.carry(node, made)

    def _is_taken(self, channels: Channels) -> bool:
        """Whether channels come from :meth:`take` and have not been matched with others since."""
        return not self._taken.isdisjoint(channels.atoms.tolist())

    def zero(self, node: ir.Node, index: int, atoms: IntArray) -> None:
        """Input ``index`` may be left out: it is zero, on an axis that ``atoms`` owns."""
        self.zeros.append(ZeroSlot(Place(node, index), atoms))

    def consume(
        self, node: ir.Node, index: int, axis: int, rows: tuple[int, ...], channels: Channels
    ) -> None:
        """The weight at input ``index`` reads the channels of the node's data along ``axis``."""
        found = constants.shape(Place(node, index).value)
        atoms = channels.expand(found[axis]) if found is not None else None
        if found is None or atoms is None:
            self.decline(node, channels, "its weight does not fit the channels that reach it")
            return
        outputs = range(math.prod(found[row] for row in rows))
        self.consume_parts(node, index, axis, rows, Channels(channels.axis, atoms), [(0, outputs)])

    def consume_parts(
        self,
        node: ir.Node,
        index: int,
        axis: int,
        rows: tuple[int, ...],
        channels: Channels,
        parts: Iterable[tuple[int, range]],
        source: ir.Value | None = None,
    ) -> None:
        """As :meth:`consume` of a weight whose outputs each read one run of the channels.

        Parameters
        ----------
        parts : iterable of (int, range)
            Where a run begins, and the outputs that read it, such as those of one group of a
            convolution.
        source : ir.Value, optional
            The value that brings the channels, where that is not the node's first input, such as
            the state of a recurrent layer.
        """
        place, value = Place(node, index), node.inputs[0] if source is None else source
        found = constants.shape(place.value)
        assert found is not None
        assert value is not None
        made = next((slot.atoms for slot in self.producers if slot.node is node), None)
        for start, outputs in parts:
            slot = ConsumerSlot(
                node,
                place,
                axis,
                rows,
                channels.atoms[start : start + found[axis]],
                value,
                channels.axis,
                channels.atoms,
                start,
                outputs,
            )
            if made is not None:
                slot = replace(slot, made=np.resize(made, slot.width))
            self.consumers.append(slot)

    def decline(self, node: ir.Node, channels: Channels, why: str) -> None:
        """The channels stay because of what ``node`` does with them."""
        given = [value.name for value in node.inputs if value is not None and is_overridable(value)]
        because = f" ({given[0]!r} is an input that a caller may set)" if given else ""
        reason = f"its channels reach {node.op_type} {label(node)!r}, {why}{because}"
        self.freeze(channels.atoms, reason)

    def decline_inputs(self, node: ir.Node, why: str, *, but: Container[int] = ()) -> None:
        """The channels of all inputs of ``node`` stay, but those of some."""
        for index in range(len(node.inputs)):
            channels = None if index in but else self.at(node, index)
            if channels is not None:
                self.decline(node, channels, why)

    def freeze(self, atoms: IntArray, reason: str) -> None:
        """The channels stay as they are; the first reason counts."""
        for atom in atoms.tolist():
            self.reasons.setdefault(atom, reason)

    def fixed(self, count: int, reason: str) -> IntArray:
        """Atoms for channels of a value that was not followed."""
        atoms = self.atoms.fresh(count)
        self.freeze(atoms, reason)
        return atoms

    def hand_over(self, inner: Sequence[ir.Value], node: ir.Node, output: int) -> None:
        """One of several values, each of another branch of ``node``, becomes one of its outputs.

        Their channels are kept or removed together, where all have as many.
        """
        made = [self.channels.get(value) for value in inner]
        known = [each for each in made if each is not None]
        lengths = {each.length for each in known}
        joined = known[0] if len(known) == len(inner) and len(lengths) == 1 else None
        for other in known[1:]:
            fits = joined is not None and None not in lengths
            joined = self.join(joined, other) if joined is not None and fits else None
        if joined is not None:
            self.handed_over.update(inner)
            self.carry(node, joined, output)
            return
        for each in known:
            self.decline(node, each, "whose other branch gives what keeps its width")

    def leave(self, node: ir.Node, reason: str) -> None:
        """A node with weights that makes no channels we can follow."""
        self.left[node] = reason

    def later(self, check: Callable[[], None]) -> None:
        """Run a check once every node has been visited."""
        self._checks.append(check)

    # the end

    def run_checks(self) -> None:
        """Run the checks of :meth:`later`."""
        for check in self._checks:
            check()

    def finish(self) -> None:
        """Freeze what leaves the graph; name each set of atoms by the one that stands for it."""
        self._freeze_open_ends()
        roots = self.atoms.roots
        for value, channels in self.channels.items():
            self.channels[value] = replace(channels, atoms=roots(channels.atoms))
        self.producers = [replace(s, atoms=roots(s.atoms)) for s in self.producers]
        self.consumers = [self._rooted(s) for s in self.consumers]
        self.filters = [replace(s, atoms=roots(s.atoms), made=roots(s.made)) for s in self.filters]
        self.slots = [replace(s, atoms=roots(s.atoms)) for s in self.slots]
        self.counts = [
            replace(s, atoms=None if s.atoms is None else roots(s.atoms)) for s in self.counts
        ]
        self.indices = [replace(s, atoms=roots(s.atoms)) for s in self.indices]
        self.steps = [replace(s, atoms=roots(s.atoms)) for s in self.steps]
        self.takes = [replace(s, atoms=roots(s.atoms)) for s in self.takes]
        self.zeros = [replace(s, atoms=roots(s.atoms)) for s in self.zeros]

    def _rooted(self, slot: ConsumerSlot) -> ConsumerSlot:
        roots = self.atoms.roots
        return replace(
            slot,
            atoms=roots(slot.atoms),
            source_atoms=roots(slot.source_atoms),
            made=None if slot.made is None else roots(slot.made),
            twins=tuple(self._rooted(twin) for twin in slot.twins),
        )

    def _freeze_open_ends(self) -> None:
        """What leaves the graph or a body, or is read where nothing is followed, must stay."""
        kept = {*self.states.values(), *self.handed_over}
        for value, channels in self.channels.items():
            if value.is_graph_output() and value not in kept:
                owner = "the model's output" if value.graph is self.graph else "what a body gives,"
                self.freeze(channels.atoms, f"its channels are {owner} {value.name!r}")
            for use in value.uses():
                if use.node not in self.visited:
                    self.decline(use.node, channels, "inside a subgraph")
