"""What can be measured of an opened ONNX model: probes, hints and sizes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray, IntArray, Reading, RowSums, ScorePair
from nmcore.plugins import Block, Carried, InputHint, Layer, Pair, Span, Table
from nmcore_onnx import cost, layers, quantisation
from nmcore_onnx.cuttable import CuttableGraph, Nodes
from nmcore_onnx.ir import constants
from nmcore_onnx.probes import (
    batch_norms,
    cuts,
    gradients,
    input_statistics,
    moments,
    output_kinds,
    padding,
    pairs,
    probabilities,
    queries,
    residual_blocks,
)
from nmcore_onnx.probes.steps import coprime_step
from nmcore_onnx.rewrite import merge_rows, model_copy
from nmcore_onnx.rewrite.forced_branches import forced
from nmcore_onnx.storage import files
from nmcore_onnx.trace import consumers, directions, operators
from nmcore_onnx.trace.groups import TracedGroup
from nmcore_onnx.trace.scores import Side
from nmcore_onnx.trace.slots import ConsumerSlot

# All of a network, and nothing carried.
_WHOLE = Span()
# Since when operators can leave rows out.
_COMPRESS = 9
# So many times as many rows where few of them count: of thousands of positions some are objects.
_UNCERTAIN = 16


class MeasurableGraph(CuttableGraph):
    """Fulfils :class:`nmcore.plugins.Maskable`, ``Pairable``, ``Differentiable``, ``Informative``,
    ``Describing``, ``Branching``, ``Quantised``, ``Bidirectional`` and
    :class:`nmcore.plugins.Lexical`.
    """

    @property
    def backward(self) -> Mapping[str, Sequence[int]]:
        """Which backward units stand where; see :class:`nmcore.plugins.Bidirectional`."""
        return self._origin.backward

    def tap_directions(self) -> Mapping[str, Sequence[tuple[int, ...]]]:
        """Of which direction each tap is; see :class:`nmcore.plugins.Bidirectional`."""
        return directions.tap_directions(self._trace, self._traced)

    def paired(self, backward: Mapping[str, Sequence[int]]) -> MeasurableGraph:
        """The same model in another order; see :class:`nmcore.plugins.Bidirectional`."""
        copy = directions.paired(self._original, self._traced, backward)
        graph = type(self)(copy, self._shapes, replace(self._origin, backward=backward))
        graph._stated = self._stated
        return graph

    def serialize_floats(self, *, original: bool = False, rounded: bool = True) -> bytes:
        """The model with weights of floats; see :class:`nmcore.plugins.Quantised`."""
        if original:
            copy = self._original.clone()
        else:
            copy = self._rewritten(takes_old_states=True, quantised=False).model
        if not rounded:
            quantisation.without_rounding(copy.graph)
        return files.serialize(copy)

    def norm_probe(self) -> bytes | None:
        """A model that gives the batch's mean and variance at each batch norm, or None."""
        if not self._norms:
            return None
        copy = model_copy.Copy(self._original)
        return files.serialize(batch_norms.probe(copy, self._norms, self._shapes))

    def set_norms(self, statistics: Sequence[FloatArray]) -> None:
        """Let probes run with these batch norm statistics instead of the model's own."""
        self._statistics = batch_norms.overrides(self._norms, statistics)

    def set_mask(self, name: str) -> bool:
        """Let probes leave out the rows of positions where an input (batch, positions) is 0."""
        self._mask = next(each for each in self._original.graph.inputs if each.name == name)
        slots = (slot for traced in self._traced.values() for slot in traced.consumers)
        return any(self._mask_of(slot) is not None for slot in slots)

    def layers(self) -> Sequence[Layer]:
        """What has weights, as it is now; see :class:`nmcore.plugins.Layered`."""
        return layers.layers(self._counted, cost.assumed_shapes(self._counted, self._specs))

    def precedes(self, reading: Reading, pair: ScorePair) -> bool:
        """Whether a consumer runs before queries and keys meet."""
        slot = self._traced[reading.group].consumers[reading.index]
        return self._order[slot.node] < self._order[self._pairs[pair.name].scores]

    def heads_left(self, pair: ScorePair) -> tuple[IntArray, IntArray]:
        """Which query heads and which key heads are left."""
        query, key = (self._heads_of(side) for side in self._pairs[pair.name].sides)
        return query, key

    def _heads_of(self, side: Side) -> IntArray:
        owners = next(
            (p.atoms for p in self._trace.producers if p.place == side.weight.place), None
        )
        if owners is None:
            return np.arange(side.heads)
        return np.flatnonzero(~np.isin(owners.reshape(side.heads, -1)[:, 0], self._removed))

    def score_probe(
        self, pairs: Sequence[ScorePair], *, rows: int, samples: int, start: Sequence[Carried] = ()
    ) -> bytes:
        """A model that gives sums over queries and keys; see :class:`nmcore.plugins.Narrowable`."""
        found = []
        for pair in pairs:
            for side in self._pairs[pair.name].sides:
                operator = operators.weighted(side.node)
                positions = operator.positions(side.node, self._assumed_shapes)
                step = coprime_step(positions * samples / rows)
                width = len(self._heads_of(side)) * pair.width
                mask = self._mask_at(side.node)
                found.append(queries.Projected(side.made.value, width, step, mask))
        return files.serialize(queries.probe(self._current(), found, self._begins(start)))

    def moment_probe(
        self,
        readings: Sequence[Reading],
        *,
        rows: int | Sequence[int],
        samples: int,
        current: Span = _WHOLE,
        original: Span | None = None,
    ) -> bytes:
        """A model whose outputs are sums over rows; see :class:`nmcore.plugins.Measurable`."""
        targets = original is not None
        found = [
            self._readings(reading, targets, int(most), samples)
            for reading, most in zip(readings, np.broadcast_to(rows, len(readings)), strict=True)
        ]
        if targets:
            found = moments.correcting_once(found)
        now = self._part(current, found, self._current)
        before = None if original is None else self._part(original, found, self._untouched)
        return files.serialize(moments.probe(now, before, found))

    def _part(
        self,
        span: Span,
        readings: Sequence[Sequence[moments.Reading]],
        copied: Callable[[Nodes], model_copy.Copy],
    ) -> moments.Part:
        """What a probe needs of one of the two networks."""
        stop = [self._values[each.name] for each in span.stop]
        nodes = self._between(span.start, [*stop, *moments.wanted(readings)])
        return moments.Part(copied(nodes), self._begins(span.start), stop)

    def pair(self, reading: Reading) -> Pair | None:
        """A fully connected layer and the one before; see :class:`nmcore.plugins.Pairable`."""
        maker = self._maker(reading)
        if maker is None:
            return None
        (before,), (after,) = (self._readings(each, True, 1, 1) for each in (maker, reading))
        copies = [self._current() for _ in range(2)]
        path = pairs.between(copies[0], before.slot.node, after)
        if path is None:
            return None
        rows = pairs.rows(copies[1], self._untouched(), before, after)
        return Pair(maker, files.serialize(rows), files.serialize(path))

    def blocks(self) -> Sequence[Block]:
        """Residual blocks; see :class:`nmcore.plugins.Differentiable`."""
        removed = len(self._removed)
        return [
            Block(
                Carried(str(section.source.name), removed),
                Carried(str(section.output.name), removed),
                weights,
                gradients.is_differentiable(section.nodes, [section.source], self._shapes),
            )
            for section in self._sections.values()
            if (weights := self._weights_of(section))
        ]

    @cached_property
    def _sections(self) -> dict[str, residual_blocks.Section]:
        """The residual blocks, by the name of what they give."""
        if not self._can_be_cut:
            return {}
        found = residual_blocks.find(self._original.graph, self._computed, self._is_carriable)
        return {str(section.output.name): section for section in found}

    def _weights_of(self, section: residual_blocks.Section) -> tuple[Reading, ...]:
        """What can be fitted in a block; nothing where its derivatives cannot be told."""
        if any(take.node in section.nodes for take in self._trace.takes):
            return ()
        found = {
            reading: self._traced[reading.group].consumers[reading.index]
            for reading in self.readings()
            if self._is_fitted(reading, section)
        }
        made = [slot.node.outputs[0] for slot in found.values()]
        known = gradients.is_differentiable(section.nodes, made, self._shapes)
        return tuple(found) if known else ()

    def _is_fitted(self, reading: Reading, section: residual_blocks.Section) -> bool:
        """Whether a consumer is a layer of a block whose weight can be fitted as a whole."""
        traced = self._traced[reading.group]
        slot = traced.consumers[reading.index]
        if slot.node not in section.nodes or not residual_blocks.can_be_fitted(slot):
            return False
        columns = self._columns(traced, slot).ravel()
        return not consumers.is_partial(traced, slot) and bool((np.diff(columns) > 0).all())

    def block_probe(self, block: Block) -> bytes:
        """How wrong a block is; see :class:`nmcore.plugins.Differentiable`."""
        section = self._section(block)
        found = [self._readings(each, False, sys.maxsize, 1)[0] for each in block.weights]
        owners, left = cuts.owners(self._trace, section.output), None
        if owners is not None and np.isin(owners[1], self._removed).any():
            left = residual_blocks.Left(
                owners[0], np.flatnonzero(~np.isin(owners[1], self._removed))
            )
        current = self._current(self._between([block.start], [section.output]))
        model = residual_blocks.probe(current, block, section, found, left, self._shapes)
        return files.serialize(model)

    def _section(self, block: Block) -> residual_blocks.Section:
        """What lies in a block, or in a sequence of them."""
        found = self._sections[block.stop.name]
        while found.source.name != block.start.name:
            found = found.after(self._sections[str(found.source.name)])
        return found

    def _maker(self, reading: Reading) -> Reading | None:
        """The fully connected layer that makes all that another one reads, and nothing else."""
        group = self._traced[reading.group]
        slot = group.consumers[reading.index]
        single = len(group.producers) == len(group.consumers) == 1 and not group.filters
        if not single or not pairs.is_alone(group, slot, self._shapes):
            return None
        for other in self.readings():
            before = self._traced[other.group]
            place = before.consumers[other.index]
            if place.node is group.producers[0].node:
                alone = pairs.is_alone(before, place, self._shapes)
                return other if alone else None
        return None

    def _readings(
        self, reading: Reading, targets: bool, rows: int, samples: int
    ) -> list[moments.Reading]:
        """Every place where a consumer's weight is read; rows are skipped where ``samples`` inputs
        would give more than asked for.
        """
        traced = self._traced[reading.group]
        slot = traced.consumers[reading.index]
        per_sample = self._rows_per_sample(slot)
        rows *= _UNCERTAIN if slot.node in self._probable else 1
        step = coprime_step(per_sample * samples / rows)
        own = self._own(traced, slot) if consumers.is_partial(traced, slot) else None
        return [
            self._reading(traced, each, slot, own, step, targets, residual)
            for each, residual in zip(slot.all, self._residuals(slot), strict=True)
        ]

    def _own(self, traced: TracedGroup, slot: ConsumerSlot) -> tuple[FloatArray, FloatArray]:
        """The weights (F, O) on the group's columns and the bias (O,), as they are now."""
        consumer = self._consumer(traced, slot)
        outputs = len(consumer.weight)
        bias = np.zeros(outputs) if consumer.bias is None else consumer.bias
        return consumer.weight.reshape(outputs, -1).T, bias

    def _reading(
        self,
        traced: TracedGroup,
        slot: ConsumerSlot,
        first: ConsumerSlot,
        own: tuple[FloatArray, FloatArray] | None,
        step: int,
        targets: bool,
        residual: moments.Residual | None,
    ) -> moments.Reading:
        owned = self._columns(traced, slot) + slot.start
        source = ~np.isin(slot.source_atoms, self._removed)
        alive = self._rows(slot) + slot.outputs.start
        made = np.ones(slot.width, bool)
        if slot.made is not None:
            made = ~np.isin(slot.made, self._removed)
        return moments.Reading(
            slot,
            (np.cumsum(source) - 1)[owned.ravel()],
            int(source.sum()),
            (np.cumsum(made) - 1)[alive],
            alive,
            own,
            step,
            targets,
            residual,
            consumers.offset(slot, first, alive),
            mask=self._mask_of(slot),
            probable=slot.node in self._probable,
        )

    @cached_property
    def _probable(self) -> Collection[ir.Node]:
        found = probabilities.layers(self._trace)
        shapes = self._assumed_shapes
        # A single row an input is too few to weigh.
        return {node for node in found if operators.weighted(node).positions(node, shapes) > 1}

    def _mask_of(self, slot: ConsumerSlot) -> str | None:
        """The mask of the positions that a consumer reads, where there is one."""
        return self._mask_at(slot.node)

    def _mask_at(self, node: ir.Node) -> str | None:
        """The mask of the positions that a fully connected layer reads, where there is one."""
        operator = operators.weighted(node)
        data = node.inputs[operator.data_input]
        opset = self._original.graph.opset_imports.get("", 1)
        if self._mask is None or data is None or not operator.is_dense or opset < _COMPRESS:
            return None
        last = operator.input_axis(node) == -1
        found = padding.has_positions_of(self._mask, data, self._shapes, self._assumed_shapes)
        return self._mask.name if last and found else None

    def forced(self, model: bytes) -> Sequence[bytes]:
        """A model with each way of deciding its Ifs; see :class:`nmcore.plugins.Branching`."""
        groups = self._traced.values()
        nodes = {slot.node for each in groups for slot in each.producers}
        nodes |= {slot.node for each in groups for slot in each.consumers}
        if all(node.graph is self._original.graph for node in nodes):
            return ()
        return [files.serialize(each) for each in forced(files.from_bytes(model, []))]

    def input_hints(self) -> Mapping[str, InputHint]:
        """What the original's first nodes tell of the inputs it was trained on."""
        found = input_statistics.input_hints(self._original.graph, self._shapes)
        for value, following in self._trace.states.items():
            if following is not None:
                found[str(value.name)] = InputHint(next_state=str(following.name))
        for value, past in self._trace.pasts.items():
            sizes = [self._trace.size(each, past.length) for each in (value, past.following)]
            moves_on = sizes[0] is not None and sizes[0] == sizes[1]
            found[str(value.name)] = InputHint(
                next_state=str(past.following.name), grows=None if moves_on else past.length
            )
        return found

    def tables(self) -> Sequence[Table]:
        """The embedding tables whose rows can be merged; see :class:`nmcore.plugins.Lexical`."""
        found = []
        for name, use in merge_rows.uses(self._source).items():
            rows, width = constants.shape(use.value) or (0, 0)
            found.append(Table(name, rows, width, bool(use.projections)))
        return found

    def table(self, name: str) -> FloatArray:
        """The values of one, shape (V, D)."""
        found = constants.array(self._source.graph.initializers[name])
        assert found is not None
        return found

    def lookup_probe(self, name: str) -> bytes:
        """A model that gives the places that are looked up in a table."""
        return files.serialize(merge_rows.lookup_probe(self._source, name))

    def with_rows(self, name: str, sums: RowSums) -> ir.Model:
        """The model as it was read, with fewer rows in a table."""
        copy = self._source.clone()
        merge_rows.merge_rows(copy, name, sums)
        return copy

    def with_table(self, name: str, values: FloatArray) -> bytes:
        """The model as it was read, with other values in a table."""
        return files.serialize(merge_rows.with_table(self._source, name, values))

    def gives_features(self) -> bool:
        """Whether the original's first output plainly holds features."""
        return output_kinds.gives_features(self._original.graph)

    def largest_value(self) -> int:
        """How many numbers the largest value inside the model holds for one input."""
        shapes_known = self._assumed_shapes.values()
        sizes = (math.prod(d for d in dims if isinstance(d, int)) for dims in shapes_known)
        return max(sizes, default=1)

    def unfolded_numbers(self, reading: Reading) -> int:
        """The rows times features that a consumer has for one input."""
        traced = self._traced[reading.group]
        slot = traced.consumers[reading.index]
        features = self._columns(traced, slot).size * slot.taps
        return self._rows_per_sample(slot) * features

    def _rows_per_sample(self, slot: ConsumerSlot) -> int:
        """How many rows all readers of a weight have for one input."""
        return sum(
            operators.weighted(each.node).positions(each.node, self._assumed_shapes)
            for each in slot.all
        )
