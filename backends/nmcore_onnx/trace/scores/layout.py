"""Where every head stands, from its projection to the scores: which of them meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.types import Dim
from nmcore_onnx.shapes import shape_values
from nmcore_onnx.trace.axes import squeezed_axes
from nmcore_onnx.trace.context import Trace


class UnknownOrderError(Exception):
    """It is not understood where heads stand."""


@dataclass(frozen=True)
class Part:
    """A factor of an axis: what is left where axes have been joined or split.

    Attributes
    ----------
    size : int or str
        Its length, never 1.
    step : int
        By how much the number of the head grows along it: 0 where that is the same all along.
    is_channel : bool
        Whether the channels of one head stand along it.
    """

    size: Dim
    step: int = 0
    is_channel: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is neither of heads nor of channels."""
        return self.step == 0 and not self.is_channel

    def split(self, inner: int) -> tuple[Part, Part]:
        """An outer part, and an inner one of a size that divides its own."""
        if self.is_channel:
            raise UnknownOrderError
        assert isinstance(self.size, int)
        return Part(self.size // inner, self.step * inner), Part(inner, self.step)


# The parts of an axis, the outermost first; those of all axes of a value.
Axis = list[Part]
Layout = list[Axis]


def layout(values: Sequence[ir.Value], heads: int, width: int, trace: Trace) -> Layout:
    """The last of some values, each made of the one before; the first holds ``heads * width``.

    Raises
    ------
    UnknownOrderError
        A node between them is not understood.
    """
    shape = _shape(values[0], trace)
    found = [_axis(size) for size in shape[:-1]]
    found.append([*_axis(heads, 1), Part(width, is_channel=True)])
    for value in values[1:]:
        node = value.producer()
        assert node is not None
        if node.op_type == "Transpose":
            order = list(reversed(range(len(found))))
            if "perm" in node.attributes:
                order = list(node.attributes["perm"].as_ints())
            found = [found[axis] for axis in order]
        elif node.op_type == "Reshape":
            found = _regrouped([part for axis in found for part in axis], _target(node, trace))
        elif node.op_type in ("Squeeze", "Unsqueeze"):
            found = _stretched(found, node, trace)
        elif node.op_type == "Expand":
            found = _expanded(found, _shape(value, trace))
        if len(found) != len(_shape(value, trace)):
            raise UnknownOrderError
    return found


def meet(query: Layout, key: Layout) -> list[tuple[Part, Part]]:
    """The parts along which two layouts of as many axes, from the last one on, are multiplied.

    One that both have is in there once, with what it is on each side; one that only one side has
    meets a part that changes nothing.
    """
    pairs = []
    for one, other in zip_longest(reversed(query), reversed(key), fillvalue=()):
        pairs += _aligned(list(one), list(other))
    return pairs


def is_in_order(pairs: Sequence[tuple[Part, Part]], shared: int) -> bool:
    """Whether each query head meets the key head of its number over ``shared``, and no other."""
    first, second = (np.zeros(1, np.int64) for _ in range(2))
    for one, other in pairs:
        if one.step or other.step:
            first, second = _along(first, one), _along(second, other)
    return bool((first // shared == second).all())


def _along(numbers: IntArray, part: Part) -> IntArray:
    assert isinstance(part.size, int)
    return np.add.outer(numbers, part.step * np.arange(part.size)).ravel()


def _shape(value: ir.Value, trace: Trace) -> tuple[Dim, ...]:
    shape = trace.shape(value)
    if shape is None:
        raise UnknownOrderError
    return shape


def _axis(size: Dim, step: int = 0) -> Axis:
    return [] if size == 1 else [Part(size, step)]


def _stretched(found: Layout, node: ir.Node, trace: Trace) -> Layout:
    axes = squeezed_axes(node, trace)
    if axes is None:
        raise UnknownOrderError
    if node.op_type == "Squeeze":
        if not all(part.is_plain for axis in axes for part in found[axis]):
            raise UnknownOrderError
        return [parts for axis, parts in enumerate(found) if axis not in axes]
    longer = list(found)
    for axis in axes:
        longer.insert(axis, [])
    return longer


def _expanded(found: Layout, shape: Sequence[Dim]) -> Layout:
    """What has one entry is repeated."""
    padded: Layout = [[] for _ in range(len(shape) - len(found))] + found
    return [parts or _axis(size) for parts, size in zip(padded, shape, strict=True)]


def _target(node: ir.Node, trace: Trace) -> list[Dim]:
    """The shape behind a Reshape; lengths that are read from other values have their names."""
    shape = list(_shape(node.outputs[0], trace))
    entries = shape_values.entries(Place(node, 1), trace.shapes) or []
    if len(entries) == len(shape):
        for axis, entry in enumerate(entries):
            known = trace.shape(entry.dim[0]) if entry.dim is not None else None
            if known is not None and entry.dim is not None and not isinstance(shape[axis], int):
                shape[axis] = known[entry.dim[1]]
    return shape


# joining and splitting


def _regrouped(parts: Axis, shape: list[Dim]) -> Layout:
    """The same parts on other axes; one axis of unknown length takes what the others leave."""
    parts, shape = list(parts), list(shape)
    right: Layout = []
    left: Layout = []
    while shape and (taken := _taken(parts, shape[-1], from_right=True)) is not None:
        right.insert(0, taken)
        shape.pop()
    while shape and (taken := _taken(parts, shape[0], from_right=False)) is not None:
        left.append(taken)
        shape.pop(0)
    if len(shape) == 1:
        middle = [parts]
    elif all(part.is_plain for part in parts) and (shape or not parts):
        middle = [_axis(size) for size in shape]
    else:
        raise UnknownOrderError
    return [*left, *middle, *right]


def _taken(parts: Axis, size: Dim, *, from_right: bool) -> Axis | None:
    """Take as many parts from an end as an axis of that size holds, or None and leave them."""
    end = -1 if from_right else 0
    if size == 1:
        return []
    if parts and parts[end].size == size:
        return [parts.pop(end)]
    left, rest = size, list(parts)
    taken: Axis = []
    while left != 1:
        if not rest or not isinstance(left, int) or left < 1:
            return None
        part = rest.pop(end)
        if not isinstance(part.size, int) or part.size < 1:
            return None
        if left % part.size:
            if part.size % left:
                return None
            outer, inner = part.split(left if from_right else part.size // left)
            part, other = (inner, outer) if from_right else (outer, inner)
            rest.insert(len(rest) if from_right else 0, other)
        assert isinstance(part.size, int)
        taken.insert(0 if from_right else len(taken), part)
        left //= part.size
    parts[:] = rest
    return taken


def _aligned(one: Axis, other: Axis) -> list[tuple[Part, Part]]:
    """The parts of two axes that run side by side."""
    if not one or not other:
        return [
            *((part, Part(part.size)) for part in one),
            *((Part(part.size), part) for part in other),
        ]
    pairs: list[tuple[Part, Part]] = []
    for end in (-1, 0):
        while one and other:
            sizes = [one[end].size, other[end].size]
            if sizes[0] == sizes[1]:
                pairs.append((one.pop(end), other.pop(end)))
                continue
            a, b = sizes
            if not isinstance(a, int) or not isinstance(b, int) or min(a, b) < 1:
                break
            if max(a, b) % min(a, b):
                break
            longer = one if a > b else other
            divided = longer[end].split(min(a, b) if end else max(a, b) // min(a, b))
            longer[end : end + 1 or None] = divided
    if not all(part.is_plain for part in (*one, *other)):
        raise UnknownOrderError
    return pairs
