"""An opened ONNX model: its groups, their weights as arrays, and the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx_ir as ir

from nmcore.group import (
    Consumer,
    Cost,
    Declined,
    FloatArray,
    Group,
    IntArray,
    Producer,
    Scaling,
    Term,
)
from nmcore_onnx import (
    constants,
    cost,
    files,
    following,
    norms,
    probing,
    reference,
    rewriting,
    shapes,
)
from nmcore_onnx.constants import Place
from nmcore_onnx.trace import ConsumerSlot, TracedGroup, label, trace
from nmcore_onnx.weights import Ledger


class OnnxGraph:
    """Fulfils :class:`nmcore.plugins.Graph` for ONNX.

    The original stays untouched. Changed weights are kept at full width in a ledger until the
    result is asked for; then every constant is cut once, however many groups touch it.
    """

    def __init__(self, model: ir.Model) -> None:
        self._original = model
        self._shapes = shapes.infer(model)
        self._trace = trace(model.graph, self._shapes)
        traced, self._declined = self._trace.groups()
        self._traced: dict[str, TracedGroup] = {item.group.name: item for item in traced}
        self._ledger = Ledger()
        self._removed: set[int] = set()
        self._norms = norms.batch_norms(model.graph, self._shapes)
        self._statistics: dict[Place, FloatArray] = {}

    @property
    def groups(self) -> Sequence[Group]:
        """The groups whose channels can be removed, in topological order."""
        return [item.group for item in self._traced.values()]

    @property
    def declined(self) -> Sequence[Declined]:
        """Every weighted node whose channels stay, and why."""
        return self._declined

    def producers(self, group: Group) -> Sequence[Producer]:
        """The weights whose rows make the group's channels, as they were when opened."""
        traced = self._traced[group.name]
        return [following.producer(slot, traced.filters(slot)) for slot in traced.producers]

    def consumers(self, group: Group) -> Sequence[Consumer]:
        """The weights that read the group's channels, with earlier groups already folded in."""
        traced = self._traced[group.name]
        return [
            Consumer(
                label(slot.node),
                self._columns(traced, slot),
                following.added_bias(slot.node, _outputs(slot)),
                following.norm_scale(slot.node, _outputs(slot), self._statistics),
                probing.residual(slot.node, self._shapes) is not None,
            )
            for slot in traced.consumers
        ]

    def write(
        self,
        group: Group,
        kept: IntArray,
        weights: Sequence[FloatArray],
        biases: Sequence[FloatArray | None],
    ) -> None:
        """Keep only ``kept`` of the group's channels; see :class:`nmcore.plugins.Graph`."""
        traced = self._traced[group.name]
        for slot, weight, bias in zip(traced.consumers, weights, biases, strict=True):
            matrix = self._ledger.matrix(slot).copy()
            owned = traced.positions(slot)
            matrix[:, owned] = 0
            matrix[:, owned[kept]] = weight.reshape(len(matrix), len(kept), -1, matrix.shape[2])
            self._ledger.write(slot, matrix)
            if bias is not None:
                self._ledger.add_bias(slot.node, bias)
        self._removed |= set(np.delete(traced.atoms, kept).tolist())
        self.__dict__.pop("_result", None)

    def _columns(self, traced: TracedGroup, slot: ConsumerSlot) -> FloatArray:
        """A consumer's columns as (O, N, T)."""
        matrix = self._ledger.matrix(slot)
        owned = traced.positions(slot)
        return matrix[:, owned].reshape(len(matrix), len(owned), -1)

    @cached_property
    def _result(self) -> ir.Model:
        return rewriting.rewrite(self._original, self._trace, self._ledger, self._removed).model

    def result(self) -> ir.Model:
        """The compressed model."""
        return self._result

    def norm_probe(self) -> bytes | None:
        """A model that gives the batch's mean and variance at each batch norm, or None."""
        if not self._norms:
            return None
        copy = rewriting.Copy(self._original)
        return files.serialize(norms.probe(copy, self._norms, self._shapes))

    def set_norms(self, statistics: Sequence[FloatArray]) -> None:
        """Let probes run with these batch norm statistics instead of the model's own."""
        self._statistics = norms.overrides(self._norms, statistics)

    def moment_probe(
        self, groups: Sequence[Group], *, targets: bool, rows: int, samples: int
    ) -> bytes:
        """A model whose outputs are sums over rows; see :class:`nmcore.plugins.Graph`."""
        consumers = [
            (item, slot, self._layout(slot, targets, rows, samples))
            for item in (self._traced[group.name] for group in groups)
            for slot in item.consumers
        ]
        current = self._copy(self._ledger, self._removed)
        original = self._copy(Ledger(), set()) if targets else None
        return files.serialize(probing.probe(current, original, consumers))

    def largest_value(self) -> int:
        """How many numbers the largest value inside the model holds for one input."""
        shapes_known = self._assumed_shapes.values()
        sizes = (math.prod(d for d in dims if isinstance(d, int)) for dims in shapes_known)
        return max(sizes, default=1)

    def unfolded_numbers(self, group: Group) -> int:
        """The most rows times features that a consumer has for one input."""
        return max(
            cost.rows(slot.node, self._assumed_shapes)
            * math.prod(constants.shape(slot.place.value) or ())
            // _outputs(slot)
            for slot in self._traced[group.name].consumers
        )

    def _layout(self, slot: ConsumerSlot, targets: bool, rows: int, samples: int) -> probing.Layout:
        """Skip rows where ``samples`` inputs would give more than asked for."""
        per_sample = cost.rows(slot.node, self._assumed_shapes)
        step = max(1, round(per_sample * samples / rows))
        return probing.Layout(step, targets, probing.residual(slot.node, self._shapes))

    @cached_property
    def _assumed_shapes(self) -> shapes.Shapes:
        return shapes.infer(self._original, cost.assumed_inputs(self._original))

    def _copy(self, ledger: Ledger, removed: set[int]) -> rewriting.Copy:
        return rewriting.rewrite(self._original, self._trace, ledger, removed, self._statistics)

    def terms(self) -> Sequence[Term]:
        """The parts of the original's cost that depend on the groups' widths."""
        return cost.terms(self._original, self._trace, list(self._traced.values()))

    def cost(self) -> Cost:
        """What the compressed model weighs."""
        return cost.cost(self._result)

    def check(self) -> None:
        """Raise VerificationError unless the result is as valid as the original was."""
        files.check(self._result, self._original)

    def reference(self, scalings: Mapping[str, Scaling]) -> bytes:
        """The original at full width; see :class:`nmcore.plugins.Graph`.

        Groups without a scaling matrix were refitted: their consumers have the new weights, with
        zeros for the removed channels.
        """
        pairs = [(self._traced[name], scaling) for name, scaling in scalings.items()]
        rebuilt = {slot.place for item, _ in pairs for slot in item.consumers}
        ledger = self._ledger.without(rebuilt)
        copy = rewriting.rewrite(self._original, self._trace, ledger, set())
        return files.serialize(reference.rebuild(copy, pairs))

    def serialize(self) -> bytes:
        """The compressed model as bytes."""
        return files.serialize(self._result)

    def save(self, path: Path) -> None:
        """Write the compressed model beside ``path`` and rename it over."""
        files.save(self._result, path)


def _outputs(slot: ConsumerSlot) -> int:
    """How many outputs a consumer has."""
    return (constants.shape(slot.place.value) or ())[slot.rows]
