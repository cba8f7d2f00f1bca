"""Integer arithmetic on shapes: what each entry of a Reshape's target is, as far as one can tell.

Exporters write ``x.view(x.size(0), -1)`` as Shape -> Gather -> Unsqueeze -> Concat -> Reshape.
This module reads such chains entry by entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constant_folding import fold, static
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.types import Shapes


@dataclass(frozen=True)
class Entry:
    """One entry of a tensor of sizes.

    Attributes
    ----------
    number : int or None
        The entry itself, where it is a constant.
    dim : (value, axis) or None
        The axis of the value whose length it is.
    place, position : Place and int, or None
        Where the constant stands, so that it can be changed.
    path : tuple of ir.Node
        The nodes between the constant and the reader of the sizes, the reader's neighbour first.
    computed : array or None
        All that the place gives, where that is no constant but computed from static sizes.
    static : (Place, array) or None
        Of a static length of another value: the place that gives it alone, and all that it gives.
    product : (Entry, Entry) or None
        A length and the constant that it is multiplied by, as batch times heads.
    """

    number: int | None = None
    dim: tuple[ir.Value, int] | None = None
    place: Place | None = None
    position: int = 0
    path: tuple[ir.Node, ...] = ()
    computed: NDArray[Any] | None = None
    static: tuple[Place, NDArray[Any]] | None = None
    product: tuple[Entry, Entry] | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is known of the entry."""
        return self.number is None and self.dim is None and self.product is None


UNKNOWN = Entry()

# Far above any rank; a file that asks for more sizes than this is out for our memory.
_MAX_ENTRIES = 10_000


def entries(place: Place, shapes: Shapes) -> list[Entry] | None:
    """The entries of the integer tensor that ``place`` reads; None where not even their number
    is known.
    """
    value = place.value
    numbers = constants.ints(value)
    if numbers is not None:
        return [Entry(number, place=place, position=i) for i, number in enumerate(numbers)]
    node = value.producer() if value is not None else None
    if node is None or _too_many(value, shapes):
        return None
    folded = fold(value, shapes)
    if folded is not None:
        return [Entry(int(n), place=place, position=i) for i, n in enumerate(folded.ravel())]
    rule = _RULES.get(node.op_type)
    if node.op_type == "Split":
        found = _split(node, value, shapes)
        return None if found is None else [_behind(node, entry) for entry in found]
    if rule is None:
        known = static(value, shapes)
        if known is not None:
            return [
                Entry(int(number), place=place, position=i, computed=known)
                for i, number in enumerate(known.ravel())
            ]
        rule = _product if node.op_type == "Mul" else _unknown
    found = rule(node, shapes)
    if found is None:
        return None
    return [_behind(node, entry) for entry in found]


def _behind(node: ir.Node, entry: Entry) -> Entry:
    """An entry as it is behind one more node."""
    product = entry.product
    if product is not None:
        product = (_behind(node, product[0]), _behind(node, product[1]))
    return replace(entry, path=(node, *entry.path), product=product)


def _too_many(value: ir.Value | None, shapes: Shapes) -> bool:
    shape = shapes.get(value.name or "", ()) if value is not None else ()
    return math.prod(size for size in shape if isinstance(size, int)) > _MAX_ENTRIES


def readers(node: ir.Node, axis: int, shapes: Shapes) -> Iterator[tuple[ir.Node, int, bool]]:
    """Where the length of ``axis`` ends up: a node, its input, and whether it was computed with.

    Parameters
    ----------
    node : ir.Node
        A Shape node; the entries of other axes may be used freely.
    axis : int
        Of the value whose shape it gives.
    shapes : Shapes
        To tell where an entry stands behind a Concat.
    """
    start = node.attributes["start"].as_int() if "start" in node.attributes else 0
    rank = len(shapes.get(node.inputs[0].name or "", ())) if node.inputs[0] is not None else 0
    end = node.attributes["end"].as_int() if "end" in node.attributes else rank
    places = {place for place, found in enumerate(range(rank)[start:end]) if found == axis}
    yield from _readers(node.outputs[0], places, shapes)


def _readers(
    value: ir.Value, places: set[int], shapes: Shapes
) -> Iterator[tuple[ir.Node, int, bool]]:
    if not places:
        return
    for use in value.uses():
        node = use.node
        if _ignores(node, shapes):
            continue
        parts = _parts(node, _length(value, shapes)) if node.op_type == "Split" else None
        if parts is not None and not any(part.is_graph_output() for part in node.outputs):
            for part, own in zip(node.outputs, parts, strict=True):
                yield from _readers(part, {own.index(k) for k in places if k in own}, shapes)
            continue
        passed = (
            None if (node.op_type, use.idx) in TARGETS else _passed(node, use.idx, places, shapes)
        )
        if passed is not None and not node.outputs[0].is_graph_output():
            yield from _readers(node.outputs[0], passed, shapes)
        elif node.op_type in _ARITHMETIC:
            yield from _ends(node)
        else:
            yield node, use.idx, False


def _ignores(node: ir.Node, shapes: Shapes) -> bool:
    """Whether a reader of sizes does not mind how large they are: their number, a test for -1."""
    if node.op_type != "Equal":
        return node.op_type == "Shape"
    signs = static(node.inputs[1], shapes)
    return signs is not None and bool((signs == -1).all())


def _ends(node: ir.Node) -> Iterator[tuple[ir.Node, int, bool]]:
    """Where the result of arithmetic on sizes ends up."""
    for output in node.outputs:
        if output.is_graph_output():
            yield node, 0, True
        for use in output.uses():
            if use.node.op_type in _ARITHMETIC or use.node.op_type in _MOVING:
                yield from _ends(use.node)
            else:
                yield use.node, use.idx, True


_MOVING = ("Unsqueeze", "Squeeze", "Cast", "Identity", "Concat", "Gather")
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Mod", "Floor", "Ceil", "Min", "Max", "Neg")


def _passed(node: ir.Node, index: int, places: set[int], shapes: Shapes) -> set[int] | None:
    """Where some entries of an input stand in a node's output; None where it computes with them."""
    if index == 0 and node.op_type in ("Unsqueeze", "Squeeze", "Cast", "Identity"):
        return places
    if node.op_type == "Where":
        return places if index == 2 and _fills_in_ones(node, shapes) else None
    if (node.op_type, index) == ("Reshape", 0):
        return places if len(shapes.get(str(node.outputs[0].name), ())) == 1 else None
    length = _length(node.inputs[0], shapes)
    picked: Sequence[int] | None = None
    if index == 0 and node.op_type == "Gather":
        picked = constants.ints(node.inputs[1])
    elif index == 0 and node.op_type == "Slice" and length is not None:
        picked = _slice_range(node, length)
    elif node.op_type == "Concat":
        before = [_length(value, shapes) for value in node.inputs[:index]]
        if None not in before:
            return {place + sum(size for size in before if size) for place in places}
    if picked is None or (length is None and any(number < 0 for number in picked)):
        return None
    return {k for k, number in enumerate(picked) if number % (length or number + 1) in places}


def _length(value: ir.Value | None, shapes: Shapes) -> int | None:
    shape = shapes.get(value.name or "") if value is not None else None
    if shape is None:
        shape = constants.shape(value)
    if shape is None or len(shape) > 1:
        return None
    size = shape[0] if shape else 1
    return size if isinstance(size, int) else None


# Inputs that are a target size, entry by entry.
TARGETS = (("Reshape", 1), ("Expand", 1), ("Resize", 3))


def _shape(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    value = node.inputs[0]
    if value is None or value.name not in shapes:
        return None
    rank = len(shapes[value.name])
    start = node.attributes["start"].as_int() if "start" in node.attributes else 0
    end = node.attributes["end"].as_int() if "end" in node.attributes else rank
    return [Entry(dim=(value, axis)) for axis in range(rank)[start:end]]


def _gather(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    data = entries(Place(node, 0), shapes)
    picked = constants.ints(node.inputs[1])
    if data is None or picked is None:
        return _unknown(node, shapes)
    if any(not -len(data) <= index < len(data) for index in picked):
        return None
    return [data[index] for index in picked]


def _slice(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    data = entries(Place(node, 0), shapes)
    if data is None:
        return None
    picked = _slice_range(node, len(data))
    return _unknown(node, shapes) if picked is None else [data[index] for index in picked]


def _split(node: ir.Node, value: ir.Value | None, shapes: Shapes) -> list[Entry] | None:
    """The lengths in one part of some sizes, as onnxruntime writes several Gathers of one Shape.

    What else is among them, such as a constant that cannot be changed in one part alone, is
    unknown.
    """
    data = entries(Place(node, 0), shapes)
    parts = None if data is None else _parts(node, len(data))
    if data is None or parts is None:
        return None
    number = next(k for k, output in enumerate(node.outputs) if output is value)
    found = [data[index] for index in parts[number]]
    return [entry if entry.dim is not None else UNKNOWN for entry in found]


def _parts(node: ir.Node, length: int | None) -> list[range] | None:
    """Which entries of a one-dimensional tensor each output of a Split has; None if not known."""
    if length is None:
        return None
    sizes = constants.ints(Place(node, 1).value)
    if sizes is None and Place(node, 1).value is None and "split" not in node.attributes:
        sizes = [length // len(node.outputs)] * len(node.outputs)
    if sizes is None or len(sizes) != len(node.outputs) or sum(sizes) != length:
        return None
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _slice_range(node: ir.Node, length: int) -> range | None:
    """Which entries of a one-dimensional tensor a Slice takes; None where that is not constant."""
    if len(node.inputs) < 3:
        return None
    start, end = (_folded(value) for value in node.inputs[1:3])
    steps = _folded(node.inputs[4]) if len(node.inputs) > 4 else [1]
    if start is None or end is None or steps is None or not len(start) == len(end) == 1:
        return None
    return range(length)[slice(start[0], end[0], steps[0])]


def _folded(value: ir.Value | None) -> list[int] | None:
    """Integers that are constant or computed from constants."""
    found = fold(value)
    return None if found is None else [int(number) for number in found.ravel()]


def _concat(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    found: list[Entry] = []
    for index in range(len(node.inputs)):
        place = Place(node, index)
        part = entries(place, shapes)
        if part is None:
            return None
        found += [_alone(entry, place, shapes) for entry in part] if len(part) == 1 else part
    return found


def _alone(entry: Entry, place: Place, shapes: Shapes) -> Entry:
    """The entry, which is all that ``place`` gives; a static length says so."""
    if entry.dim is None or place.value is None:
        return entry
    value, axis = entry.dim
    size, rank = shapes.get(str(value.name), ())[axis], shapes.get(str(place.value.name))
    if not isinstance(size, int) or rank is None:
        return entry
    return replace(entry, static=(place, np.full((1,) * len(rank), size, np.int64)), path=())


def _flat(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    """Sizes that are reshaped into the list that they are."""
    shape = shapes.get(str(node.outputs[0].name))
    return _through(node, shapes) if shape is not None and len(shape) == 1 else None


def _where(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    """PyTorch's ``expand``, in whose target -1 stands for 1: Where(target == -1, 1, target)."""
    target = entries(Place(node, 2), shapes)
    if target is None or not _fills_in_ones(node, shapes):
        return _unknown(node, shapes)
    return [Entry(1) if entry.number == -1 else entry for entry in target]


def _fills_in_ones(node: ir.Node, shapes: Shapes) -> bool:
    """Whether a Where puts 1 in the place of -1 and does nothing else."""
    condition = node.inputs[0].producer() if node.inputs[0] is not None else None
    if condition is None or condition.op_type != "Equal":
        return False
    ones, signs = static(node.inputs[1], shapes), static(condition.inputs[1], shapes)
    if condition.inputs[0] is not node.inputs[2] or ones is None or signs is None:
        return False
    return bool((ones == 1).all() and (signs == -1).all())


def _product(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    """A length times a constant."""
    one, other = (entries(Place(node, index), shapes) for index in (0, 1))
    for lengths, factors in ((one, other), (other, one)):
        if lengths is not None and factors is not None and len(lengths) == len(factors) == 1:
            length, factor = lengths[0], factors[0]
            if length.dim is not None and factor.number is not None:
                return [Entry(product=(length, factor))]
    return _unknown(node, shapes)


def _through(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    return entries(Place(node, 0), shapes)


def _unknown(node: ir.Node, shapes: Shapes) -> list[Entry] | None:
    """As many unknown entries as the shape of the node's output says."""
    shape = shapes.get(node.outputs[0].name or "")
    if shape is None or any(not isinstance(size, int) for size in shape):
        return None
    return [UNKNOWN] * math.prod(size for size in shape if isinstance(size, int))


_RULES = {
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _through,
    "Squeeze": _through,
    "Cast": _through,
    "Identity": _through,
    "Reshape": _flat,
    "Where": _where,
}
