"""An opened ONNX model that can be run in parts, from what is live at a cut on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray, Reading, ScorePair
from nmcore.plugins import Carried
from nmcore_onnx.graph import OnnxGraph
from nmcore_onnx.ir import constants
from nmcore_onnx.probes import cuts
from nmcore_onnx.rewrite import model_copy, rewrite, states
from nmcore_onnx.rewrite.ledger import Ledger
from nmcore_onnx.rewrite.narrow import Narrowed
from nmcore_onnx.storage import files

# Some nodes in their order, or all.
Nodes = Sequence[ir.Node] | None


class CuttableGraph(OnnxGraph):
    """An :class:`OnnxGraph` that probes are made of."""

    def _current(self, nodes: Nodes = None) -> model_copy.Copy:
        """The working copy as it is, for a probe, which takes states as the original does; of it
        some nodes only, where heads are as they were.
        """
        return self._copy(self._ledger, self._removed, nodes, self._narrowed)

    def _untouched(self, nodes: Nodes = None) -> model_copy.Copy:
        """The original, or some nodes of it, with the statistics that probes use."""
        return self._copy(Ledger(), np.array([], dtype=np.intp), nodes)

    def _copy(
        self,
        ledger: Ledger,
        removed: IntArray,
        nodes: Nodes,
        narrowed: Sequence[Narrowed] = (),
    ) -> model_copy.Copy:
        copy = rewrite.rewrite(
            self._original, self._trace, ledger, removed, self._statistics, narrowed, nodes
        )
        states.keep_inputs(copy, self._trace, removed)
        return copy

    def cut(
        self, readings: Sequence[Reading], pairs: Sequence[ScorePair] = ()
    ) -> Sequence[Carried] | None:
        """What is live before some consumers; see :class:`nmcore.plugins.Measurable`."""
        if not self._can_be_cut:
            return None
        slots = [self._traced[each.group].consumers[each.index] for each in readings]
        nodes = [each.node for slot in slots for each in slot.all]
        nodes += [side.node for pair in pairs for side in self._pairs[pair.name].sides]
        first = min(self._order[node] for node in nodes)
        found = cuts.live(self._order, first, self._is_carriable)
        return [Carried(str(value.name), len(self._removed)) for value in found]

    def from_cut(self, start: Sequence[Carried]) -> bytes:
        """The model from a cut on; see :class:`nmcore.plugins.Measurable`."""
        outputs = self._original.graph.outputs
        current = self._current(self._between(start, outputs))
        return files.serialize(cuts.behind(current, outputs, self._begins(start)))

    def _between(
        self, start: Sequence[Carried], stop: Iterable[ir.Value]
    ) -> Sequence[ir.Node] | None:
        """The nodes that make some values of what is carried; None where all are to be copied."""
        stop = list(stop)
        if not stop:
            return []
        whole = any(value.producer() is None for value in stop)
        if whole or not start or self._narrowed or not self._can_be_cut:
            return None
        return cuts.between(self._order, [self._values[each.name] for each in start], stop)

    def _begins(self, start: Sequence[Carried]) -> list[cuts.Resumed]:
        """What is left of carried values."""
        return [
            cuts.resumed(self._trace, self._values[each.name], each, self._removed)
            for each in start
        ]

    @cached_property
    def _computed(self) -> set[ir.Value]:
        return cuts.computed(self._original.graph)

    @cached_property
    def _single_precision(self) -> set[ir.Value]:
        return cuts.single_precision(self._original.graph)

    @cached_property
    def _can_be_cut(self) -> bool:
        """Whether weights are single precision, and no node holds a graph, which reads values
        outside.
        """
        weights = [slot.place for item in self._traced.values() for slot in item.consumers]
        return all(constants.dtype(each.value) == np.float32 for each in weights) and not any(
            attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for node in self._original.graph
            for attribute in node.attributes.values()
        )

    def _is_carriable(self, value: ir.Value) -> bool:
        """Whether a value is known to be a single-precision array whose channels can be told."""
        if value not in self._computed or value not in self._single_precision:
            return False
        if value in self._inside_heads:
            return False
        return value not in self._trace.channels or cuts.owners(self._trace, value) is not None

    @cached_property
    def _inside_heads(self) -> set[ir.Value]:
        """The values that narrower heads change: how much of them is left is not told by channels
        alone.
        """
        sides = [side for each in self._pairs.values() for side in each.sides]
        return {each.value for side in sides for each in side.head_values}

    @cached_property
    def _values(self) -> dict[str, ir.Value]:
        return {str(v.name): v for node in self._original.graph for v in node.outputs}
