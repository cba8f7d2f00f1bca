"""Making the compressed model: a copy of the original with the removed channels cut out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nmcore.group import FloatArray
from nmcore_onnx.ir import constants, defaults
from nmcore_onnx.ir.arrays import cut, stored
from nmcore_onnx.ir.constant_folding import fold
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.quantisation.marks import note_kept
from nmcore_onnx.rewrite.ledger import Changed, Ledger
from nmcore_onnx.rewrite.model_copy import Copy
from nmcore_onnx.rewrite.narrow import (
    Narrowed,
    adjust,
    inner_slots,
    left,
    owners_of,
    turned_addition,
    turned_weights,
)
from nmcore_onnx.storage.external_data import forget
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.slots import (
    ConsumerSlot,
    CountSlot,
    ProducerSlot,
    Slot,
    StepSlot,
    TakeSlot,
)

Array = NDArray[Any]

# Weights of so many bytes are cut only when they are written.
LARGE = 2**22


def rewrite(
    model: ir.Model,
    trace: Trace,
    ledger: Ledger,
    removed: NDArray[np.intp],
    overrides: Mapping[Place, FloatArray] | None = None,
    narrowed: Sequence[Narrowed] = (),
    nodes: Sequence[ir.Node] | None = None,
) -> Copy:
    """Copy a model, write the changed weights and cut what the removed atoms own.

    Everything that is not touched stays the same, down to the name. ``overrides`` are constants to
    use instead of the model's own, before they are cut. The heads of ``narrowed`` go through their
    maps. Of ``nodes`` no others are copied; there may be no narrowed heads then.
    """
    copy = Copy(model, nodes)
    for place, array in (overrides or {}).items():
        if copy.has(place.node):
            constants.replace(copy.place(place), array.astype(constants.dtype(place.value)))
    if not len(removed) and not ledger.weights and not narrowed:
        return copy
    inputs = defaults.unlist(copy.model)
    masks = _masks(copy, trace, removed, narrowed)
    for place, weight in _cut(copy, trace, ledger, masks, narrowed).items():
        constants.replace(copy.place(place), weight)
        note_kept(copy.place(place).value, masks[place])
    for take in trace.takes:
        if copy.has(take.node):
            _take(copy, take, removed)
    _declare(trace, copy, removed)
    for slot in trace.zeros:
        if copy.has(slot.place.node):
            _leave_out(copy.place(slot.place), np.isin(slot.atoms, removed))
    for place in ledger.biases:
        _add_bias(copy, trace, place, ledger, removed, narrowed)
    _reunite(copy)
    defaults.relist(copy.model, inputs)
    for count in trace.counts:
        if copy.has(count.node):
            _recount(copy, count, removed)
    for inner in (each for pair in narrowed for side in pair.traced.sides for each in side.counts):
        assert inner.slot.atoms is not None
        _write(copy, inner.slot, left(inner.slot.atoms, inner.heads, removed))
    for index in trace.indices:
        if copy.has(index.place.node):
            _reindex(copy.place(index.place), ~np.isin(index.atoms, removed))
    for step in trace.steps:
        if copy.has(step.node):
            _restep(copy.node(step.node), step, ~np.isin(step.atoms, removed))
    adjust(copy, trace, narrowed, removed)
    return copy


def _add_bias(
    copy: Copy,
    trace: Trace,
    place: Place,
    ledger: Ledger,
    removed: NDArray[np.intp],
    narrowed: Sequence[Narrowed],
) -> None:
    """Write what is added to the bias beside a weight."""
    operator, addition = operators.weighted(place.node), ledger.bias(place)
    # Asked of the original: a part lacks readers, which tell whether a sum is a bias.
    output = operator.output(place.node)
    node = output.producer()
    if addition is None or node is None or not copy.has(node):
        return
    kept = _kept_rows(trace, place, removed, narrowed)
    addition = turned_addition(narrowed, place, addition)
    addition = addition if kept is None else addition[kept]
    total = operator.add_bias(copy.node(node), addition, place.index)
    if total is not None:
        copy.move(output, total)


def _take(copy: Copy, slot: TakeSlot, gone: NDArray[np.intp]) -> None:
    """Pick what is left behind a node that needs all channels; the pick takes over its readers."""
    kept = np.flatnonzero(~np.isin(slot.atoms, gone))
    if len(kept) == len(slot.atoms):
        return
    value = copy.value(slot.node.outputs[0])
    node, graph = value.producer(), value.graph
    assert node is not None
    assert isinstance(graph, ir.Graph)
    name = f"{node.name or value.name}.taken"
    pick = ir.node("Gather", [value, None], {"axis": slot.axis}, name=name)
    graph.insert_after(node, pick)
    constants.insert(Place(pick, 1), f"{name}.channels", kept)
    taken = pick.outputs[0]
    taken.name, taken.type = f"{name}.output", value.type
    taken.shape = None if value.shape is None else ir.Shape(list(value.shape))
    for use in list(value.uses()):
        if use.node is not pick:
            use.node.replace_input_with(use.idx, taken)
    copy.move(slot.node.outputs[0], taken)


def _masks(
    copy: Copy, trace: Trace, gone: NDArray[np.intp], narrowed: Sequence[Narrowed]
) -> dict[Place, dict[int, NDArray[np.bool_]]]:
    """Which entries stay of the constants that lose some, for each axis that does."""
    masks: dict[Place, dict[int, NDArray[np.bool_]]] = defaultdict(dict)
    cuts: list[Slot | ProducerSlot | ConsumerSlot]
    readers = [twin for slot in trace.consumers for twin in slot.all]
    cuts = [*trace.slots, *trace.producers, *readers, *inner_slots(narrowed)]
    for slot in (each for each in cuts if copy.has(each.place.node)):
        keep = ~np.isin(slot.atoms, gone)
        if not keep.all():
            masks[slot.place][slot.axis] = keep & masks[slot.place].get(slot.axis, np.True_)
    return masks


def _cut(
    copy: Copy,
    trace: Trace,
    ledger: Ledger,
    masks: Mapping[Place, Mapping[int, NDArray[np.bool_]]],
    narrowed: Sequence[Narrowed],
) -> dict[Place, Array | ir.LazyTensor]:
    """All weights that changed or lost entries; large ones are computed when they are written."""
    first = {each.place: slot.place for slot in trace.consumers for each in slot.all}
    changed = {
        place: ledger.weights[original]
        for place, original in first.items()
        if original in ledger.weights and copy.has(place.node)
    }
    changed |= turned_weights(narrowed, changed)
    result: dict[Place, Array | ir.LazyTensor] = {}
    done: dict[tuple[object, ...], Array | ir.LazyTensor] = {}
    for place in dict.fromkeys([*masks, *changed]):
        cuts_made = tuple((axis, keep.tobytes()) for axis, keep in sorted(masks[place].items()))
        key = (constants.source(place.value), changed.get(place), cuts_made)
        if key not in done:  # What several nodes share is computed once.
            done[key] = _new(copy.place(place).value, changed.get(place), masks[place])
        result[place] = done[key]
    return result


def _new(
    value: ir.Value | None,
    changed: Changed | None,
    masks: Mapping[int, NDArray[np.bool_]],
) -> Array | ir.LazyTensor:
    tensor = constants.tensor(value)
    if tensor is not None and tensor.nbytes >= LARGE:
        return _later(tensor, changed, masks)
    original = fold(value)
    assert original is not None
    array = cut(original, masks) if changed is None else changed.cut(masks)
    return stored(array, original.dtype)


def _later(
    tensor: ir.TensorProtocol,
    changed: Changed | None,
    masks: Mapping[int, NDArray[np.bool_]],
) -> ir.LazyTensor:
    """A weight that is cut whenever it is read, and not held in between."""

    def compute() -> ir.TensorProtocol:
        array = cut(tensor.numpy(), masks) if changed is None else changed.cut(masks)
        data = ir.Tensor(np.ascontiguousarray(stored(array, tensor.dtype.numpy())))
        forget(tensor)
        return data

    sizes = [
        int(np.count_nonzero(masks[axis])) if axis in masks else int(size)
        for axis, size in enumerate(tensor.shape.numpy())
    ]
    return ir.LazyTensor(compute, tensor.dtype, ir.Shape(sizes), name=tensor.name)


def _reunite(copy: Copy) -> None:
    """Let the readers of what was one constant share one again, where theirs are still equal."""
    initialisers = copy.model.graph.initializers
    for value, graph in [
        (value, after) for before, after in copy.graphs for value in _constants_of(before)
    ]:
        found = [each for each in constants.readers(value) if copy.has(each.node)]
        places = [copy.place(each) for each in found]
        distinct = {id(place.value): place for place in places}.values()
        for place, other in combinations(distinct, 2):
            if _equal(place.value, other.value):
                redundant = other.value
                assert redundant is not None
                other.node.replace_input_with(other.index, place.value)
                constants.drop(redundant)
        left = places[0].value if len(places) > 1 else None
        if left is not None and left.name in initialisers and not _is_there(copy, value, graph):
            left.name = value.name


def _constants_of(graph: ir.Graph | ir.GraphView) -> list[ir.Value]:
    """Initialisers, and what Constant nodes give."""
    made = [each.outputs[0] for each in graph if each.op_type == "Constant"]
    return [*graph.initializers.values(), *made]


def _is_there(copy: Copy, value: ir.Value, graph: ir.Graph) -> bool:
    """Whether a constant of the original has a copy, in the copy of its graph, that is left."""
    node = value.producer()
    return value.name in graph.initializers if node is None else copy.node(node).graph is not None


def _equal(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether two constants that are not one are equal."""
    tensors = constants.tensor(one), constants.tensor(other)
    if one is other or tensors[0] is None or tensors[1] is None:
        return False
    if max(tensor.nbytes for tensor in tensors if tensor is not None) >= LARGE:
        return tensors[0] is tensors[1]
    mine, theirs = (tensor.numpy() for tensor in tensors if tensor is not None)
    return mine.dtype == theirs.dtype and np.array_equal(mine, theirs)


def _kept_rows(
    trace: Trace, place: Place, gone: NDArray[np.intp], narrowed: Sequence[Narrowed]
) -> NDArray[np.bool_] | None:
    """Which outputs of a consumer stay, where it is a producer itself."""
    inner = owners_of(narrowed, place)
    inside = None if inner is None else ~np.isin(inner, gone)
    for slot in trace.consumers:
        for reader in slot.all:
            if reader.place == place and reader.made is not None:
                kept: NDArray[np.bool_] = ~np.isin(reader.made, gone)
                return kept if inside is None else kept & inside
    return inside


def _leave_out(place: Place, gone: NDArray[np.bool_]) -> None:
    """Leave an input of zeros out where an axis of it has lost entries."""
    value = place.value
    if value is not None and gone.any():
        place.node.replace_input_with(place.index, None)
        constants.drop(value)


def _recount(copy: Copy, slot: CountSlot, removed: NDArray[np.intp]) -> None:
    """Write how many positions are left into a constant, a computed place or an attribute.

    Written even where all are kept: a bound counted from the end moves with what is behind it.
    """
    if isinstance(slot.place, str):
        assert slot.atoms is not None
        attributes = copy.node(slot.node).attributes
        count = int(np.count_nonzero(~np.isin(slot.atoms, removed)))
        if slot.position is None:
            attributes[slot.place] = ir.AttrInt64(slot.place, count)
        else:
            numbers = list(attributes[slot.place].as_ints())
            numbers[slot.position] = count
            attributes[slot.place] = ir.AttrInt64s(slot.place, numbers)
        return
    before = fold(slot.place.value) if slot.computed is None else slot.computed
    assert before is not None
    number = int(before.reshape(-1)[slot.position])
    if slot.atoms is not None:
        number = int(np.count_nonzero(~np.isin(slot.atoms, removed)))
    _write(copy, slot, number)


def _write(copy: Copy, slot: CountSlot, number: int) -> None:
    """Write a number into a constant or a computed place."""
    assert isinstance(slot.place, Place)
    before = fold(slot.place.value) if slot.computed is None else slot.computed
    assert before is not None
    if slot.computed is None and before.reshape(-1)[slot.position] == number:
        return
    place = copy.private(slot.node, slot.place, slot.path)
    if place.value is None:  # a Split into so many parts
        place.node.attributes.pop("num_outputs", None)
        name = f"{place.node.name or place.node.outputs[0].name}.sizes"
        constants.insert(place, name, before.copy())
    found = fold(place.value)
    found = (before if found is None else found).copy()
    found.reshape(-1)[slot.position] = number
    constants.replace(place, found)


def _reindex(place: Place, keep: NDArray[np.bool_]) -> None:
    """Drop indices of positions that are gone, and renumber the others."""
    if keep.all():
        return
    indices = fold(place.value)
    assert indices is not None
    left = indices[keep[indices]]
    constants.replace(place, (np.cumsum(keep)[left % len(keep)] - 1).astype(indices.dtype))


def _restep(node: ir.Node, slot: StepSlot, keep: NDArray[np.bool_]) -> None:
    """Let a Slice take what is left of the positions that it took."""
    if keep.all():
        return
    picked = np.cumsum(keep)[slot.picked[keep[slot.picked]]] - 1
    unread = [value for value in node.inputs[1:] if value is not None]
    node.op_type = "Gather"
    node.attributes.clear()
    node.attributes["axis"] = ir.AttrInt64("axis", slot.axis)
    for index in range(1, len(node.inputs)):
        node.replace_input_with(index, None)
    node.resize_inputs(2)
    constants.insert(Place(node, 1), f"{node.name or node.outputs[0].name}.channels", picked)
    for value in unread:
        constants.drop(value)


def _declare(trace: Trace, copy: Copy, gone: NDArray[np.intp]) -> None:
    """Correct the declared shapes of the values that lost channels."""
    for value, channels in trace.channels.items():
        if not copy.knows(value) or not np.isin(channels.atoms, gone).any():
            continue
        declared = copy.value(value)
        if declared.shape is None:
            continue
        sizes = list(declared.shape)
        length = sizes[channels.axis] if channels.axis < len(sizes) else None
        if isinstance(length, ir.SymbolicDim) and value in trace.states.values():
            continue  # a name stands for any length
        atoms = channels.expand(length) if isinstance(length, int) else None
        if atoms is None:
            declared.shape = None
            continue
        sizes[channels.axis] = int(np.count_nonzero(~np.isin(atoms, gone)))
        declared.shape = ir.Shape(sizes)
