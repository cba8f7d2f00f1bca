"""Making the compressed model: a copy of the original with the removed channels cut out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nmcore.group import FloatArray
from nmcore_onnx import constants
from nmcore_onnx.constants import Place
from nmcore_onnx.following import bias_node, bias_place
from nmcore_onnx.trace import ConsumerSlot, ProducerSlot, Slot, Trace
from nmcore_onnx.weights import Ledger, attribute, computable

Array = NDArray[Any]


class Copy:
    """A copy of a model, and where each node of the original went."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model.clone()
        self._nodes = dict(zip(model.graph, self.model.graph, strict=True))
        self._values = {
            old: new
            for before, after in self._nodes.items()
            for old, new in zip(before.outputs, after.outputs, strict=True)
        }

    def node(self, node: ir.Node) -> ir.Node:
        """The copy of a node."""
        return self._nodes[node]

    def place(self, place: Place) -> Place:
        """The copy of a place."""
        return Place(self._nodes[place.node], place.index)

    def value(self, value: ir.Value) -> ir.Value:
        """The copy of a node's output."""
        return self._values[value]


def rewrite(
    model: ir.Model,
    trace: Trace,
    ledger: Ledger,
    removed: set[int],
    overrides: Mapping[Place, FloatArray] | None = None,
) -> Copy:
    """Copy a model, write the changed weights and cut what the removed atoms own.

    Everything that is not touched stays the same, down to the name. ``overrides`` are constants to
    use instead of the model's own, before they are cut.
    """
    copy = Copy(model)
    for place, array in (overrides or {}).items():
        constants.replace(copy.place(place), array.astype(constants.dtype(place.value)))
    if not removed and not ledger.weights:
        return copy
    gone = np.fromiter(removed, dtype=np.intp, count=len(removed))
    for place, array in _cut(copy, trace, ledger, gone).items():
        constants.replace(copy.place(place), array)
    for node, addition in ledger.biases.items():
        kept = _kept_rows(trace, node, gone)
        _add_bias(copy.node(node), addition if kept is None else addition[kept])
    for slot in trace.sizes:
        _shrink_target(copy.place(slot.place), slot.position, ~np.isin(slot.atoms, gone))
    for passed in trace.depthwise:
        kept_groups = int(np.count_nonzero(~np.isin(passed.atoms, gone)))
        copy.node(passed.node).attributes["group"] = ir.AttrInt64("group", kept_groups)
    _declare(trace, copy, gone)
    return copy


def _cut(copy: Copy, trace: Trace, ledger: Ledger, gone: NDArray[np.intp]) -> dict[Place, Array]:
    """The new arrays of all weights that changed or lost entries."""
    masks: dict[Place, dict[int, NDArray[np.bool_]]] = defaultdict(dict)
    cuts: list[Slot | ProducerSlot | ConsumerSlot]
    cuts = [*trace.slots, *trace.producers, *trace.consumers]
    for slot in cuts:
        keep = ~np.isin(slot.atoms, gone)
        if not keep.all():
            masks[slot.place][slot.axis] = keep
    result = {}
    for place in [*masks, *(place for place in ledger.weights if place not in masks)]:
        original = constants.array(copy.place(place).value)
        assert original is not None
        array: Array = ledger.weights.get(place, original)
        for axis, keep in masks.get(place, {}).items():
            array = np.compress(keep, array, axis=axis)
        result[place] = array.astype(original.dtype, copy=False)
    return result


def _kept_rows(trace: Trace, node: ir.Node, gone: NDArray[np.intp]) -> NDArray[np.bool_] | None:
    """Which outputs of a consumer stay, where it is a producer itself."""
    for slot in trace.producers:
        if slot.node is node:
            return ~np.isin(slot.atoms, gone)
    return None


def _add_bias(node: ir.Node, addition: FloatArray) -> None:
    """Add to a node's bias; give it one where it has none."""
    added = bias_node(node, len(addition))
    if added is not None:
        place = bias_place(added)
    elif node.op_type == "MatMul":
        _insert_add(node, addition)
        return
    else:
        place = Place(node, 2)
    addition = (
        addition / np.float32(attribute(node, "beta")) if node.op_type == "Gemm" else addition
    )
    if place.value is None:
        weight = constants.array(node.inputs[1])
        assert weight is not None
        constants.insert(
            place, f"{node.name or node.outputs[0].name}.bias", addition.astype(weight.dtype)
        )
        return
    old = constants.array(place.value)
    assert old is not None
    constants.replace(place, (computable(old) + addition).astype(old.dtype))


def _insert_add(node: ir.Node, addition: FloatArray) -> None:
    """Put an Add behind a MatMul that has no bias; the sum takes over the output's name."""
    output, graph = node.outputs[0], node.graph
    weight = constants.array(node.inputs[1])
    assert isinstance(graph, ir.Graph)
    assert weight is not None
    name = f"{node.name or output.name}.bias"
    added = ir.node("Add", [output, None], name=name, num_outputs=1)
    graph.insert_after(node, added)
    total = added.outputs[0]
    total.shape, total.type = output.shape, output.type
    total.name, output.name = output.name, f"{output.name}_without_bias"
    constants.insert(Place(added, 1), name, addition.astype(weight.dtype))
    for use in list(output.uses()):
        if use.node is not added:
            use.node.replace_input_with(use.idx, total)
    for index, value in enumerate(graph.outputs):
        if value is output:
            graph.outputs[index] = total


def _shrink_target(place: Place, position: int, keep: NDArray[np.bool_]) -> None:
    """Write the new length of a channel axis into a Reshape's target."""
    if keep.all():
        return
    target = constants.array(place.value)
    assert target is not None
    target = target.copy()
    target.reshape(-1)[position] = int(keep.sum())
    constants.replace(place, target)


def _declare(trace: Trace, copy: Copy, gone: NDArray[np.intp]) -> None:
    """Correct the declared shapes of the values that lost channels."""
    for value, channels in trace.channels.items():
        if not np.isin(channels.atoms, gone).any():
            continue
        declared = copy.value(value)
        if declared.shape is None:
            continue
        sizes = list(declared.shape)
        length = sizes[channels.axis]
        atoms = channels.expand(length) if isinstance(length, int) else None
        if atoms is None:
            declared.shape = None
            continue
        sizes[channels.axis] = int(np.count_nonzero(~np.isin(atoms, gone)))
        declared.shape = ir.Shape(sizes)
