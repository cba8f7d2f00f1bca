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
    for number, axis in enumerate(range(len(starts)) if axes is None else axes):
        size, step = source[axis], 1 if steps is None else steps[number]
        part = slice(starts[number], ends[number], step)
        shape[axis] = (
            len(range(*part.indices(size))) if isinstance(size, int) else _named(node, axis)
        )
    return shape


def _attended(node: ir.Node, source: tuple[Dim, ...], known: Shapes) -> list[Dim] | None:
    """What onnxruntime's attention gives: (batch, length, heads * size of the values).

    1. Attention, whose weight makes queries, keys and values.
    2. Queries (batch, length, heads, 3, size) in one with keys and values.
    3. (batch, length, (query heads + 2 key heads) * size) in one.
    4. Values (batch, length, heads * size) of their own.
    """
    number = {
        name: found.as_int()
        for name, found in node.attributes.items()
        if name in ("num_heads", "kv_num_heads")
    }
    heads = number.get("num_heads", 0)
    third = known.get(str(node.inputs[2].name)) if _has(node, 2) else None
    width: Dim = -1
    if node.op_type == "Attention":
        weight = constants.shape(node.inputs[1]) or (0,)
        sizes = node.attributes.get("qkv_hidden_sizes")
        width = weight[-1] // 3 if sizes is None else sizes.as_ints()[-1]
    elif len(source) == 5 and isinstance(source[4], int):
        width = heads * source[4]
    elif not _has(node, 1) and isinstance(source[-1], int) and "kv_num_heads" in number:
        width = heads * (source[-1] // max(heads + 2 * number["kv_num_heads"], 1))
    elif third is not None and len(third) == 3 and len(source) == 3:
        width = source[2] if "kv_num_heads" in number else third[2]
    if len(source) not in (3, 5) or width in (-1, 0):
        return None
    return [*source[:2], width]


def _has(node: ir.Node, index: int) -> bool:
    return Place(node, index).value is not None


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
_CONTRIB = dict.fromkeys(("Attention", "MultiHeadAttention", "GroupQueryAttention"), _attended)
