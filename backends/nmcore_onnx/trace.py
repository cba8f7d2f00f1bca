"""Following channels through a graph, node by node.

The trace walks the nodes once in topological order and hands each to the rule of its operator
(:mod:`nmcore_onnx.rules`). A rule may

* :meth:`~Trace.produce` fresh channels,
* :meth:`~Trace.carry` those of an input to an output,
* :meth:`~Trace.slice` a constant together with them,
* let a weight :meth:`~Trace.consume` them,
* or :meth:`~Trace.decline` them with a reason; an operator without a rule always does.

Nothing is guessed: channels that reach a place which no rule understands stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from onnx_ir.traversal import RecursiveGraphIterator

from nmcore.group import Declined, Group, IntArray
from nmcore_onnx import constants
from nmcore_onnx.channels import Channels
from nmcore_onnx.constants import Place
from nmcore_onnx.shapes import Dim, Shapes
from nmcore_onnx.sizes import Entry


@dataclass(frozen=True, eq=False)
class Slot:
    """A constant that loses entries of one axis together with the channels that own them."""

    place: Place
    axis: int
    atoms: IntArray


@dataclass(frozen=True, eq=False)
class SizeSlot:
    """An entry of a Reshape's target that holds the length of a channel axis as a number."""

    place: Place
    position: int
    atoms: IntArray


@dataclass(frozen=True, eq=False)
class ConsumerSlot:
    """A weight whose columns read channels: ``atoms`` owns the entries of its ``axis``.

    ``rows`` is the axis of its outputs; ``source`` is the value that brings the channels, on
    ``source_axis``.
    """

    node: ir.Node
    place: Place
    axis: int
    rows: int
    atoms: IntArray
    source: ir.Value
    source_axis: int


@dataclass(frozen=True, eq=False)
class ProducerSlot:
    """A weight whose rows, the entries of ``axis``, make the channels ``atoms``."""

    node: ir.Node
    place: Place
    axis: int
    columns: int
    atoms: IntArray


@dataclass(frozen=True, eq=False)
class DepthwiseSlot:
    """A depthwise convolution on the way: ``atoms`` owns its groups, ``made`` its filters."""

    node: ir.Node
    atoms: IntArray
    made: IntArray


@dataclass(frozen=True, eq=False)
class TracedGroup:
    """A group with all the places it touches."""

    group: Group
    producers: tuple[ProducerSlot, ...]
    consumers: tuple[ConsumerSlot, ...]
    depthwise: tuple[DepthwiseSlot, ...]

    @property
    def atoms(self) -> IntArray:
        """The atom of each channel, shape (N,)."""
        return self.producers[0].atoms

    def filters(self, slot: ProducerSlot) -> DepthwiseSlot | None:
        """The depthwise convolution behind a pointwise producer, one filter a channel."""
        shape = constants.shape(slot.place.value) or ()
        alone = len(self.depthwise) == 1 and np.array_equal(self.depthwise[0].made, slot.atoms)
        return self.depthwise[0] if alone and set(shape[2:]) <= {1} else None

    def positions(self, slot: ConsumerSlot) -> IntArray:
        """The columns of a consumer that each channel owns, shape (N, r)."""
        order = np.argsort(slot.atoms, kind="stable")
        owners = slot.atoms[order]
        first = np.searchsorted(owners, self.atoms)
        count = np.searchsorted(owners, self.atoms, side="right") - first
        assert (count == count[0]).all()
        return order[first[:, None] + np.arange(count[0])]


@dataclass(eq=False)
class Trace:
    """What is known so far; the rules' view of the graph."""

    graph: ir.Graph
    shapes: Shapes
    channels: dict[ir.Value, Channels] = field(default_factory=dict)
    producers: list[ProducerSlot] = field(default_factory=list)
    consumers: list[ConsumerSlot] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    depthwise: list[DepthwiseSlot] = field(default_factory=list)
    sizes: list[SizeSlot] = field(default_factory=list)
    left: dict[ir.Node, str] = field(default_factory=dict)
    _owner: list[int] = field(default_factory=list)
    _reasons: dict[int, str] = field(default_factory=dict)

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

    # what a rule says

    def produce(self, node: ir.Node, place: Place, rows: int, columns: int, axis: int) -> Channels:
        """The rows of a weight make fresh channels on ``axis`` of the node's output."""
        found = constants.shape(place.value)
        assert found is not None
        first = len(self._owner)
        atoms = np.arange(first, first + found[rows])
        self._owner += [len(self.producers)] * len(atoms)
        self.producers.append(ProducerSlot(node, place, rows, columns, atoms))
        made = Channels(axis, atoms)
        self.carry(node, made)
        return made

    def carry(self, node: ir.Node, channels: Channels, output: int = 0) -> None:
        """The channels go on, on ``channels.axis`` of an output."""
        self.channels[node.outputs[output]] = channels

    def slice(self, node: ir.Node, index: int, axis: int, channels: Channels) -> None:
        """Input ``index`` is a constant that is cut along ``axis`` with the channels."""
        place = Place(node, index)
        found = constants.shape(place.value)
        atoms = channels.expand(found[axis]) if found is not None else None
        if atoms is None:
            self.decline(node, channels, f"its input {index} does not fit the channels")
        else:
            self.slots.append(Slot(place, axis, atoms))

    def filter(self, node: ir.Node, channels: Channels, made: Channels) -> None:
        """A depthwise convolution reads the channels and makes as many, or a multiple."""
        self.depthwise.append(DepthwiseSlot(node, channels.atoms, made.atoms))

    def resize(self, entry: Entry, atoms: IntArray) -> None:
        """A number in a Reshape's target counts the positions that ``atoms`` owns."""
        assert entry.place is not None
        self.sizes.append(SizeSlot(entry.place, entry.position, atoms))

    def consume(self, node: ir.Node, index: int, axis: int, rows: int, channels: Channels) -> None:
        """The weight at input ``index`` reads the channels along ``axis``."""
        place = Place(node, index)
        found = constants.shape(place.value)
        atoms = channels.expand(found[axis]) if found is not None else None
        value = node.inputs[0]
        if atoms is None or value is None:
            self.decline(node, channels, "its weight does not fit the channels that reach it")
            return
        slot = ConsumerSlot(node, place, axis, rows, atoms, value, channels.axis)
        self.consumers.append(slot)

    def decline(self, node: ir.Node, channels: Channels, why: str) -> None:
        """The channels stay because of what ``node`` does with them."""
        self.freeze(channels.atoms, f"its channels reach {node.op_type} {label(node)!r}, {why}")

    def freeze(self, atoms: IntArray, reason: str) -> None:
        """The producers of ``atoms`` stay as they are; the first reason counts."""
        for producer in sorted({self._owner[atom] for atom in atoms}):
            self._reasons.setdefault(producer, reason)

    def leave(self, node: ir.Node, reason: str) -> None:
        """A node with weights that makes no channels we can follow."""
        self.left[node] = reason

    # the result

    def groups(self) -> tuple[list[TracedGroup], list[Declined]]:
        """Every group that can be cut, and every weighted node that is left alone."""
        self._freeze_shared()
        self._freeze_open_ends()
        groups, reasons = [], dict(self.left)
        names = Counter(label(node) for node in self.graph)
        for index, producer in enumerate(self.producers):
            consumers = tuple(c for c in self.consumers if np.isin(producer.atoms, c.atoms).any())
            if not consumers:
                self._reasons.setdefault(index, "no weight that nmcore can change reads its output")
            if names[label(producer.node)] > 1:
                self._reasons.setdefault(index, "another node has the same name")
            if index in self._reasons:
                reasons[producer.node] = self._reasons[index]
                continue
            readers = [label(consumer.node) for consumer in consumers]
            name = label(producer.node)
            group = Group(name, len(producer.atoms), [name], readers)
            passed = tuple(d for d in self.depthwise if np.isin(producer.atoms, d.atoms).any())
            groups.append(TracedGroup(group, (producer,), consumers, passed))
        for slot in self.depthwise:
            reason = self._reasons.get(self._owner[slot.atoms[0]])
            if reason is not None:
                reasons[slot.node] = reason
        order = {node: k for k, node in enumerate(RecursiveGraphIterator(self.graph))}
        for node in order:
            if node not in reasons and node.graph is not self.graph and _is_weighted(node):
                reasons[node] = "inside a subgraph: not supported yet"
        declined = [
            Declined(label(node), node.op_type, reasons[node])
            for node in sorted(reasons, key=lambda node: order[node])
        ]
        return groups, declined

    def _freeze_shared(self) -> None:
        """A weight that several nodes read would have to be copied for each: leave it alone."""
        weights: list[ProducerSlot | ConsumerSlot] = [*self.producers, *self.consumers]
        for slot in weights:
            for value in {slot.place.value, constants.source(slot.place.value)}:
                if value is not None and len(value.uses()) > 1:
                    reason = (
                        f"its channels touch the weight {value.name!r} that several nodes share"
                    )
                    self.freeze(slot.atoms, reason)

    def _freeze_open_ends(self) -> None:
        """What leaves the graph, or is read inside a subgraph, must keep its shape."""
        for value, channels in self.channels.items():
            if value.is_graph_output():
                self.freeze(channels.atoms, f"its channels are the model's output {value.name!r}")
            for use in value.uses():
                if use.node.graph is not self.graph:
                    self.decline(use.node, channels, "inside a subgraph")


def _is_weighted(node: ir.Node) -> bool:
    """Whether a node multiplies with a constant matrix or filter."""
    ops = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN")
    return node.op_type in ops and any(
        len(constants.shape(value) or ()) > 1 for value in node.inputs
    )


Rule = Callable[[ir.Node, Trace], None]


def label(node: ir.Node) -> str:
    """A node's name, or its first output's where it has none."""
    return node.name or (node.outputs[0].name if node.outputs else "") or "?"


def trace(graph: ir.Graph, shapes: Shapes) -> Trace:
    """Walk a graph with the rules of :mod:`nmcore_onnx.rules`."""
    from nmcore_onnx.rules import rule_for

    state = Trace(graph, shapes)
    for node in graph:
        rule_for(node)(node, state)
    return state
