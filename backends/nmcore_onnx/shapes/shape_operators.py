"""Output shapes of operators that take a target shape as input, such as Reshape and Expand.

Exporters compute the width of an attention head, or half of the channels, as Shape, Gather and Div.
ONNX's inference gives up where only some entries of such a target are known, and on every such
bound of a Slice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constant_folding import static
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import flag
from nmcore_onnx.ir.types import Dim, Shapes
from nmcore_onnx.shapes import shape_values

# Sizes of untrusted files may multiply to this; no file can hold it.
_TOO_LONG = 2**63


def refine(node: ir.Node, known: Shapes) -> tuple[Dim, ...] | None:
    """The shape of a node's output, where more of it can be inferred than is known; else None."""
    rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if node.domain == "com.microsoft":
        rule = _CONTRIB.get(node.op_type)
    if rule is None:
        return None
    before = known.get(str(node.outputs[0].name))
    source = known.get(str(node.inputs[0].name)) if node.inputs[0] is not None else None
    if source is None or (before is not None and _numbers(before) == len(before)):
        return None
    shape = rule(node, source, known)
    if shape is None or (before is not None and _numbers(shape) <= _numbers(before)):
        return None
    numbers = (size for size in shape if isinstance(size, int))
    return tuple(shape) if all(0 <= size < _TOO_LONG for size in numbers) else None


def _numbers(shape: Sequence[Dim]) -> int:
    return sum(isinstance(size, int) for size in shape)


def _reshaped(node: ir.Node, source: tuple[Dim, ...], known: Shapes) -> list[Dim] | None:
    """The target of a Reshape, entry by entry; a -1 is what is left of the source."""
    target = shape_values.entries(Place(node, 1), known)
    if target is None:
        return None
    shape = [_size(entry, index, source, known) for index, entry in enumerate(target)]
    if shape.count(-1) == 1:
        rest = [size for size in shape if size != -1]
        # Dynamic axes cancel where both sides have the same ones.
        names = [Counter(size for size in each if isinstance(size, str)) for each in (source, rest)]
        if names[0] == names[1]:
            total, part = (
                math.prod(size for size in each if isinstance(size, int)) for each in (source, rest)
            )
            shape[shape.index(-1)] = total // part if part else -1
    return [_named(node, axis) if size == -1 else size for axis, size in enumerate(shape)]


def _named(node: ir.Node, axis: int) -> str:
    return f"?{node.outputs[0].name}.{axis}"


def _size(entry: shape_values.Entry, index: int, source: tuple[Dim, ...], known: Shapes) -> Dim:
    if entry.number == 0:
        return source[index] if index < len(source) else -1
    return _length(entry, known)


def _length(entry: shape_values.Entry, known: Shapes) -> Dim:
    """The length that an entry asks for; -1 where it is unknown."""
    if entry.number is not None:
        return entry.number
    if entry.dim is not None:
        return known.get(str(entry.dim[0].name), ())[entry.dim[1]]
    return -1


def _expanded(node: ir.Node, source: tuple[Dim, ...], known: Shapes) -> list[Dim] | None:
    """Axes of one are repeated, missing ones added in front."""
    target = shape_values.entries(Place(node, 1), known)
    if target is None:
        return None
    return _broadcast(node, [source, [_length(entry, known) for entry in target]])


def _met(node: ir.Node, source: tuple[Dim, ...], known: Shapes) -> list[Dim] | None:
    """Elementwise operators repeat axes of one, of whatever input."""
    found = [known.get(str(value.name)) for value in node.inputs if value is not None]
    shapes = [shape for shape in found if shape is not None]
    return _broadcast(node, shapes) if len(shapes) == len(found) else None


def _broadcast(node: ir.Node, shapes: Sequence[Sequence[Dim]]) -> list[Dim]:
    rank = max(map(len, shapes))
    padded: list[list[Dim]] = [[*[1] * (rank - len(shape)), *shape] for shape in shapes]
    shape = [_longest(sizes) for sizes in zip(*padded, strict=True)]
    return [_named(node, axis) if size == -1 else size for axis, size in enumerate(shape)]


def _longest(lengths: Sequence[Dim]) -> Dim:
    """What axes become that meet each other; -1 where that is unknown.

    A length of more than one leaves the others no choice. Where two such lengths differ, the model
    does not run with the sizes that are tried, and the longer one, which was not cut off, counts.
    """
    different = {size for size in lengths if size != 1}
    numbers = [size for size in different if isinstance(size, int) and size > 1]
    if numbers:
        return max(numbers)
    return different.pop() if len(different) == 1 else -1 if different else 1


def _filled(node: ir.Node, source: tuple[Dim, ...], known: Shapes) -> list[Dim] | None:
    """As large as its only input says."""
    target = shape_values.entries(Place(node, 0), known)
    if target is None:
        return None
    shape = [_length(entry, known) for entry in target]
    return [_named(node, axis) if size == -1 else size for axis, size in enumerate(shape)]


def _sliced(node: ir.Node, source: tuple[Dim, ...], known: Shapes) -> list[Dim] | None:
    """What a Slice leaves, where its bounds are static; other axes stay as long as they are."""
    if "starts" in node.attributes:  # until opset 9, which the inference can read
        return None
    starts, ends, axes, steps = (_ints(Place(node, index), known) for index in (1, 2, 3, 4))
    if starts is None or ends is None:
        return None
    named = [Place(node, index).value is not None for index in (3, 4)]
    if (named[0] and axes is None) or (named[1] and steps is None):
        return None
    shape = list(source)
    sliced = range(len(starts)) if axes is None else axes
    # Sizes contradict each other where a branch is looked at that is never taken.
    if any(not -len(source) <= axis < len(source) for axis in sliced):
        return None
    for number, axis in enumerate(sliced):
        size, step = source[axis], 1 if steps is None else steps[number]
        part = slice(starts[number], ends[number], step)
        shape[axis] = (
            len(range(*part.indices(size))) if isinstance(size, int) else _named(node, axis)
        )
    return shape


def _attended(node: ir.Node, source: tuple[Dim, ...], known: Shapes) -> list[Dim] | None:
    """What onnxruntime's attention gives: (batch, length, query heads * size of a value head)."""
    if len(source) == 5 and node.op_type == "MultiHeadAttention":
        # Heads of queries, keys and values: (batch, length, heads, 3, size).
        source = (*source[:2], _product(source[2], source[4]))
    if len(source) != 3:
        return None
    width = _width_attended(node, source[2], known)
    return None if width is None else [*source[:2], width]


def _width_attended(node: ir.Node, width: Dim, known: Shapes) -> Dim | None:
    """The last axis of what it gives; ``width`` is that of what it reads first.

    1. Attention, whose weight makes queries, keys and values.
    2. MultiHeadAttention, as wide as its values: (batch, length, D), or for each head (batch,
       heads, length, size) or, in one with its keys, (batch, length, heads, 2, size).
    3. GroupQueryAttention, as wide as its queries: of their own, or in one with keys and values.
    """
    if node.op_type == "Attention":
        weight = constants.shape(node.inputs[1]) or (0,)
        sizes = node.attributes.get("qkv_hidden_sizes")
        return (weight[-1] // 3 if sizes is None else sizes.as_ints()[-1]) or None
    if node.op_type == "MultiHeadAttention":
        values = _shape(node, 2, known) or _shape(node, 1, known)
        if values is None:
            return width if Place(node, 1).value is None else None
        if len(values) == 3:
            return values[2]
        heads = {4: 1, 5: 2}.get(len(values))
        return None if heads is None else _product(values[heads], values[-1])
    if Place(node, 1).value is not None:
        return width
    query, key = (
        node.attributes[name].as_int() if name in node.attributes else 0
        for name in ("num_heads", "kv_num_heads")
    )
    total = query + 2 * key
    return query * (width // total) if isinstance(width, int) and min(query, key) > 0 else None


def _product(one: Dim, other: Dim) -> Dim:
    """Two lengths multiplied; -1 where they are not known."""
    return one * other if isinstance(one, int) and isinstance(other, int) else -1


def _multiplied(node: ir.Node, source: tuple[Dim, ...], known: Shapes) -> list[Dim] | None:
    """FusedMatMul, whose factors may have their last two axes turned."""
    other = _shape(node, 1, known)
    if other is None or min(len(source), len(other)) < 2:
        return None
    if flag(node, "transBatchA") or flag(node, "transBatchB"):
        return None
    rows = source[-1 if flag(node, "transA") else -2]
    columns = other[-2 if flag(node, "transB") else -1]
    rank = max(len(source), len(other))
    batches = [(1,) * (rank - len(shape)) + shape[:-2] for shape in (source, other)]
    sizes: list[Dim] = [
        two if one == 1 else one if two in (1, one) else -1
        for one, two in zip(*batches, strict=True)
    ]
    return None if -1 in sizes else [*sizes, rows, columns]


def _shape(node: ir.Node, index: int, known: Shapes) -> tuple[Dim, ...] | None:
    value = Place(node, index).value
    return known.get(str(value.name)) if value is not None else None


def _ints(place: Place, known: Shapes) -> list[int] | None:
    found = static(place.value, known)
    return None if found is None else [int(number) for number in found.ravel()]


_RULES = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where"), _met),
    "ConstantOfShape": _filled,
    "Expand": _expanded,
    "Reshape": _reshaped,
    "Slice": _sliced,
}
_CONTRIB = {
    **dict.fromkeys(("Attention", "MultiHeadAttention", "GroupQueryAttention"), _attended),
    "FusedMatMul": _multiplied,
}
