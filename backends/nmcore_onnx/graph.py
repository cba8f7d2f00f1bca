"""An opened ONNX model: its groups, their weights as arrays, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import onnx_ir as ir

from nmcore.arrays.absorption import absorb
from nmcore.errors import blaming
from nmcore.group import (
    Consumer,
    Cost,
    Declined,
    FloatArray,
    Group,
    IntArray,
    Narrowing,
    Producer,
    Reading,
    Refit,
    Scaling,
    ScorePair,
    Term,
)
from nmcore.plugins.inputs import InputSpec
from nmcore.plugins.open_sizes import Stated
from nmcore.plugins.states import StateChange
from nmcore_onnx import cost, quantisation
from nmcore_onnx.ir import bodies, constants, names
from nmcore_onnx.ir.arrays import compact
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import label
from nmcore_onnx.ir.tensors import tensors
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.probes import batch_norms, moments
from nmcore_onnx.rewrite import fold_constants, model_copy, reference, rewrite, states
from nmcore_onnx.rewrite.channel_sums import (
    ChannelSum,
    restore_sums,
    summable,
    write_sums,
)
from nmcore_onnx.rewrite.differences import clipped_weights, differences, is_inlined
from nmcore_onnx.rewrite.ledger import Ledger
from nmcore_onnx.rewrite.narrow import Narrowed
from nmcore_onnx.rewrite.origin import Origin
from nmcore_onnx.storage import external_data, files
from nmcore_onnx.trace import consumers, operators, producers
from nmcore_onnx.trace.groups import TracedGroup, find_groups
from nmcore_onnx.trace.scores import TracedPair, find_pairs
from nmcore_onnx.trace.slots import ConsumerSlot, ProducerSlot, Slot
from nmcore_onnx.trace.walk import trace

Own = TypeVar("Own", bound="OnnxGraph")


class OnnxGraph:
    """Fulfils :class:`nmcore.plugins.Graph` for ONNX.

    The original stays untouched. Changed weights are kept at full width in a ledger until the
    result is asked for; then every constant is cut once, however many groups touch it.

    Parameters
    ----------
    model : ir.Model
        Not changed.
    known : mapping of value name to shape
        What :func:`nmcore_onnx.shapes.refinement.refined` says of it.
    origin : Origin, optional
        Where it is from; by default it is as it was read.
    """

    def __init__(self, model: ir.Model, known: Shapes, origin: Origin | None = None) -> None:
        self._original = model
        self._origin = origin or Origin(model)
        self._source = self._origin.source
        self._shapes = known
        self._trace = trace(model.graph, known, states=self._origin.states)
        traced, declined = find_groups(self._trace)
        told = {(each.node, each.op): each for each in self._origin.declined}
        self._declined = [told.get((each.node, each.op), each) for each in declined]
        self._traced: dict[str, TracedGroup] = {item.group.name: item for item in traced}
        pairs, self._declined_pairs = find_pairs(self._trace, self._traced)
        self._pairs: dict[str, TracedPair] = {each.pair.name: each for each in pairs}
        self._narrowed: tuple[Narrowed, ...] = ()
        self._ledger = Ledger()
        self._removed = np.array([], dtype=np.intp)
        # The units of each group that are left.
        self._kept = {item.group.name: np.arange(item.group.width) for item in traced}
        self._norms = batch_norms.batch_norms(model.graph, self._shapes)
        self._statistics: dict[Place, FloatArray] = {}
        self._mask: ir.Value | None = None
        self._stated: Stated = {}

    def clone(self: Own) -> Own:
        """A graph of the same state; the original, its trace and unchanged weights are shared."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._ledger = self._ledger.copy()
        copy._kept = dict(self._kept)
        copy.__dict__.pop("_result", None)  # which a caller may change
        return copy

    def channel_sums(self) -> dict[str, ChannelSum]:
        """What :func:`nmcore_onnx.rewrite.channel_sums.summable` names."""
        return summable(self._trace)

    def with_sums(self: Own, sums: Mapping[str, ChannelSum]) -> Own:
        """The same model, opened anew with some means over channels as products."""
        copy = self._original.clone()
        names.adopt(copy.graph)
        known = {**self._shapes, **write_sums(copy.graph, sums)}
        return type(self)(copy, known, self._origin)

    def with_states(self) -> OnnxGraph:
        """The same model with states that may shrink; see :class:`nmcore.plugins.Stateful`."""
        if self._origin.states or self._origin.reopen is None or not self._trace.states:
            return self
        graph: OnnxGraph = self._origin.reopen()
        graph._stated = self._stated
        return graph

    def states(self) -> Sequence[StateChange]:
        """The states that have lost channels; see :class:`nmcore.plugins.Stateful`."""
        return list(states.changes(self._trace, self._removed))

    def serialize_alike(self) -> bytes:
        """The compressed model that takes states as the original does."""
        if not self.states():
            return self.serialize()
        return files.serialize(self._rewritten(takes_old_states=True).model)

    @property
    def groups(self) -> Sequence[Group]:
        """The groups whose channels can be removed, in topological order."""
        return [item.group for item in self._traced.values()]

    @property
    def declined(self) -> Sequence[Declined]:
        """Every weighted node whose channels stay, and why."""
        return self._declined

    @property
    def score_pairs(self) -> Sequence[ScorePair]:
        """Queries and keys that can be narrowed; see :class:`nmcore.plugins.Narrowable`."""
        return [each.pair for each in self._pairs.values()]

    @property
    def declined_pairs(self) -> Sequence[Declined]:
        """Every other attention, and why its heads keep their width."""
        return self._declined_pairs

    def weights(self) -> set[str]:
        """The names of all constants with rows, columns or entries that belong to a group, or to
        channels inside heads, and of the other weights and biases of the nodes that read them,
        without which none is followed.
        """
        units = [item.units for item in self._traced.values()]
        owners = np.concatenate(units) if units else np.array([], dtype=np.intp)
        slots: list[Slot | ProducerSlot | ConsumerSlot]
        slots = [*self._trace.slots, *self._trace.producers, *self._trace.consumers]
        places = [slot.place for slot in slots if np.isin(slot.atoms, owners).any()]
        places += [
            s.place for each in self._pairs.values() for side in each.sides for s in side.slots
        ]
        nodes = {place.node: operators.find(place.node) for place in places}
        places += [
            Place(node, index)
            for node, operator in nodes.items()
            if isinstance(operator, operators.Weighted)
            for index in operator.parameters
        ]
        return {str(place.value.name) for place in places if place.value is not None}

    def producers(self, group: Group) -> Sequence[Producer]:
        """The weights whose rows make the group's channels, as they were when opened."""
        return producers.producers(self._traced[group.name], self._shapes)

    def readings(self) -> Sequence[Reading]:
        """Every consumer of every group that can be measured, in topological order."""
        found = [
            (self._order[slot.node], Reading(name, index, str(slot.source.name)))
            for name, traced in self._traced.items()
            if not traced.group.unmeasured
            for index, slot in enumerate(traced.consumers)
        ]
        return [reading for _, reading in sorted(found, key=lambda pair: pair[0])]

    @cached_property
    def _order(self) -> dict[ir.Node, int]:
        return {node: number for number, node in enumerate(bodies.walk(self._original.graph))}

    def consumers(self, group: Group) -> Sequence[Consumer]:
        """The weights that read the group's channels, with all changes so far folded in."""
        traced = self._traced[group.name]
        return [self._consumer(traced, slot) for slot in traced.consumers]

    def consumer(self, reading: Reading) -> Consumer:
        """One of :meth:`consumers`, alone."""
        traced = self._traced[reading.group]
        return self._consumer(traced, traced.consumers[reading.index])

    def _consumer(self, traced: TracedGroup, slot: ConsumerSlot) -> Consumer:
        width, rows = slot.width, self._rows(slot)
        alive = rows + slot.outputs.start
        bias = operators.weighted(slot.node).bias(slot.node, width, slot.place.index)
        added = self._ledger.bias(slot.place)
        if added is not None:
            bias = added if bias is None else bias + added
        scale = consumers.norm_scale(slot.node, width, self._statistics, self._shapes)
        owned = self._columns(traced, slot)
        matrix = self._ledger.matrix(slot)[compact(rows, len(slot.outputs))]
        matrix = matrix[:, compact(owned.ravel(), matrix.shape[1])]
        return Consumer(
            label(slot.node),
            matrix.reshape(len(rows), len(owned), -1),
            None if bias is None else bias[alive],
            None if scale is None else scale[alive],
            self._residuals(slot)[0] is not None or consumers.is_partial(traced, slot),
        )

    def _residuals(self, slot: ConsumerSlot) -> list[moments.Residual | None]:
        """The sum that each reader of a weight goes into; None for all unless all have one."""
        found = [moments.residual(each.node, self._shapes) for each in slot.all]
        return [None for _ in found] if None in found else found

    def update(self, group: Group, index: int, change: Scaling | Refit) -> None:
        """Change one consumer's weights; see :class:`nmcore.plugins.Graph`."""
        traced = self._traced[group.name]
        slot = traced.consumers[index]
        if isinstance(change, Scaling):
            if self._absorb_later(traced, slot, change):
                return
            change = Refit(change.kept, *absorb(self._consumer(traced, slot).weight, change))
        self._refit(traced, slot, change)
        self.__dict__.pop("_result", None)

    def _absorb_later(self, traced: TracedGroup, slot: ConsumerSlot, scaling: Scaling) -> bool:
        """Fold a large weight only when it is written, where Z is no matrix that needs room too."""
        tensor = constants.tensor(slot.place.value)
        if tensor is None or tensor.nbytes < rewrite.LARGE or scaling.assignment is None:
            return False
        return self._ledger.absorb(slot, self._columns(traced, slot), scaling)

    def remove(self, group: Group, kept: IntArray) -> None:
        """Take all but ``kept`` of the group's channels out."""
        traced = self._traced[group.name]
        left = self._kept[group.name]
        self._removed = np.concatenate([self._removed, traced.units[np.delete(left, kept)]])
        self._kept[group.name] = left[kept]
        self.__dict__.pop("_result", None)
        for place in {slot.place for slot in traced.producers} | {
            slot.place for slot in traced.consumers
        }:
            external_data.forget(constants.tensor(place.value))

    def narrow(self, pair: ScorePair, narrowing: Narrowing) -> None:
        """Make the queries and keys of all heads narrower."""
        traced = self._pairs[pair.name]
        self._removed = np.concatenate([self._removed, traced.atoms[narrowing.width :]])
        self._narrowed = (*self._narrowed, Narrowed(traced, narrowing))
        self.__dict__.pop("_result", None)

    def _refit(self, traced: TracedGroup, slot: ConsumerSlot, change: Refit) -> None:
        """Write a consumer's columns of the group: zeros but for the kept ones."""
        owned, rows = self._columns(traced, slot), self._rows(slot)
        columns = owned[change.kept].ravel()
        self._ledger.write(slot, rows, columns, change.weight, cleared=owned.ravel())
        if change.bias is not None:
            addition = np.zeros(slot.width, change.bias.dtype)
            addition[rows + slot.outputs.start] = change.bias
            for reader in slot.all:
                self._ledger.add_bias(reader.place, traced.group.name, addition)

    def _columns(self, traced: TracedGroup, slot: ConsumerSlot) -> IntArray:
        """The consumer's columns that each channel that is left owns, shape (n, r)."""
        return traced.positions(slot.atoms)[self._kept[traced.group.name]]

    def _rows(self, slot: ConsumerSlot) -> IntArray:
        """Which of the outputs that read these columns are left."""
        if slot.made is None:
            return np.arange(len(slot.outputs))
        own = slot.made[slot.outputs.start : slot.outputs.stop]
        return np.flatnonzero(~np.isin(own, self._removed))

    @cached_property
    def _result(self) -> ir.Model:
        if not self._result_is_new:
            return self._source.clone()
        return self._rewritten().model

    def _rewritten(
        self, *, takes_old_states: bool = False, quantised: bool = True
    ) -> model_copy.Copy:
        copy = rewrite.rewrite(
            self._original, self._trace, self._ledger, self._removed, narrowed=self._narrowed
        )
        restore_sums(copy, self._trace, self._ledger.weights, self._removed)
        if takes_old_states:
            states.keep_inputs(copy, self._trace, self._removed)
        fold_constants.store_halves(copy.model.graph)
        if quantised:
            quantisation.requantise(copy.model.graph)
        return copy

    @cached_property
    def quantised(self) -> int:
        """How many weights are stored as integers; see :class:`nmcore.plugins.Quantised`."""
        return quantisation.count(self._original.graph)

    def result(self) -> ir.Model:
        """The compressed model."""
        return self._result

    def set_sizes(self, stated: Stated) -> None:
        """Count at these shapes of inputs; see :class:`nmcore.plugins.Sizable`."""
        cost.inputs(self._original, stated, self._trace.pasts)  # refused before anything is counted
        self._stated = stated
        self.__dict__.pop("_assumed_shapes", None)

    @cached_property
    def _assumed_shapes(self) -> Shapes:
        specs = cost.inputs(self._original, self._stated, self._trace.pasts)
        return cost.assumed_shapes(self._original, specs)

    def terms(self) -> Sequence[Term]:
        """The parts of the original's cost that depend on the groups' widths."""
        groups = list(self._traced.values())
        pairs = list(self._pairs.values())
        return cost.terms(self._original, self._trace, groups, pairs, self._assumed_shapes)

    def cost(self) -> Cost:
        """What the compressed model weighs."""
        with blaming("the model", self.fault):
            counted = self._counted
            specs = self._specs
            found = cost.cost(counted, cost.assumed_shapes(counted, specs), specs)
            if not self.quantised:
                return found
            return replace(found, nodes=sum(1 for _ in self._result.graph.all_nodes()))

    @property
    def _counted(self) -> ir.Model:
        """The compressed model, quantised weights as floats; what functions and branches hold is
        counted where it is inlined.
        """
        if self._result_is_new:
            return self._rewritten(quantised=False).model if self.quantised else self._result
        if self.quantised or is_inlined(self._source, self._original):
            return self._original
        return bodies.with_unique_names(self._source)

    @property
    def _specs(self) -> Sequence[InputSpec]:
        """At which inputs that is counted."""
        return cost.inputs(self._counted, self._stated, self._trace.pasts, self.states())

    def told(self) -> Sequence[str]:
        """What the result lacks or asks for otherwise; see :class:`nmcore.plugins.Telling`."""
        lines = [*self._origin.left_out, *differences(self._source, self._original, self._result)]
        if self._result_is_new:
            lines += clipped_weights(self._source, self._result)
        return lines

    @property
    def _result_is_new(self) -> bool:
        return bool(len(self._removed) or self._ledger)

    def precisions(self) -> Sequence[np.dtype[Any]]:
        """The floating-point types of its weights and values."""
        found = {tensor.dtype for tensor in tensors(self._source)}
        for node in self._source.graph.all_nodes():
            found |= {value.dtype for value in node.outputs if value.dtype is not None}
            if node.op_type == "Cast":
                found.add(ir.DataType(node.attributes["to"].as_int()))
        return [kind.numpy() for kind in found if kind.is_floating_point()]

    def check(self) -> None:
        """Raise VerificationError unless the result is as valid as the original was."""
        files.check(self._result, self._original)

    def fault(self) -> str | None:
        """Why the original is not valid ONNX, or None."""
        return files.fault(self._original)

    def reference(self, scalings: Mapping[str, Scaling]) -> bytes:
        """The original at full width; see :class:`nmcore.plugins.Graph`.

        Groups without a scaling matrix were refitted: their consumers have the new weights, with
        zeros for the removed channels.
        """
        scaled = [(self._traced[name], scaling) for name, scaling in scalings.items()]
        undone = {
            item.group.name: [(slot, item.positions(slot.atoms).ravel()) for slot in item.consumers]
            for item, _ in scaled
        }
        nothing = np.array([], dtype=np.intp)
        ledger = self._ledger.without(undone)
        copy = rewrite.rewrite(
            self._original, self._trace, ledger, nothing, narrowed=self._narrowed
        )
        states.narrow_outputs(copy, self._trace, self._removed)
        model = reference.rebuild(copy, scaled)
        if self.quantised:
            quantisation.without_rounding(model.graph)
        return files.serialize(model)

    def serialize(self) -> bytes:
        """The compressed model as bytes."""
        return files.serialize(self._result)

    def to_onnx(self) -> onnx.ModelProto:
        """The compressed model; see :class:`nmcore.plugins.Convertible`."""
        return files.to_proto(self._result)

    def size(self) -> int:
        """How many bytes the compressed model takes, written as one file."""
        return files.size(self._result)

    def write_files(self, folder: Path, name: str, external_data: bool | None) -> None:
        """Write the compressed model into a folder; see :class:`nmcore.plugins.Graph`."""
        files.write(self._result, folder, name, external_data)

    def data_files(self) -> Sequence[Path]:
        """The files beside the original's own that hold weights of it."""
        return external_data.data_files(tensors(self._source))
