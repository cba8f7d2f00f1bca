"""Shapes that the inference leaves open, though the sizes that make them are known.

Exporters compute the width of an attention head, or half of the channels, as Shape, Gather and Div.
The inference gives up where only some entries of such a target are known, and on every such bound
of a Slice; here each is read for itself. It also gives names of its own to axes that it cannot tell
to be as long as one of an input; sizes that are tried show which are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count

import onnx_ir as ir

from nmcore_onnx import shapes, sizes
from nmcore_onnx.constants import Place
from nmcore_onnx.folding import static
from nmcore_onnx.shapes import Dim, Shapes

# Each round may uncover what the next one needs, as in a chain of units that each halve and shuffle
# their channels. The longest ones known have 16 units.
_ROUNDS = 40


def refined(model: ir.Model) -> Shapes:
    """Shapes by value name, as :func:`nmcore_onnx.shapes.infer` gives them, and more."""
    known = _inferred(model)
    given = {
        value.name: known[value.name]
        for value in model.graph.inputs
        if value.name in known and value.const_value is None
    }
    axes = _dynamic(given)
    if not axes or not any(_is_open(shape, axes) for shape in known.values()):
        return known
    trials = []
    for trial in _TRIALS:
        lengths = _lengths(axes, *trial)
        tried = {
            name: tuple(lengths[dim] if isinstance(dim, str) else dim for dim in shape)
            for name, shape in given.items()
        }
        trials.append((_inferred(model, tried), {size: dim for dim, size in lengths.items()}))
    for name in dict.fromkeys([*known, *trials[0][0]]):
        found = [shapes_found.get(name) for shapes_found, _ in trials]
        agreed = _agreed(name, known.get(name), found, [dims for _, dims in trials])
        if agreed is not None:
            known[name] = agreed
    return known


def _inferred(model: ir.Model, inputs: Mapping[str, tuple[int, ...]] | None = None) -> Shapes:
    inference = shapes.Inference(model, inputs)
    known = inference.shapes()
    for _ in range(_ROUNDS):
        new = {
            str(node.outputs[0].name): shape
            for node in model.graph
            if node.op_type in _RULES and (shape := _more(node, known)) is not None
        }
        if not new:
            break
        inference.declare(new)
        known = inference.shapes()
    return known


# Dynamic axes are tried with primes: very short ones, which a bound from below lifts, short ones,
# and long ones, which every bound from above cuts off. The last ones fall where the others rise, so
# that no axis is always so much longer than another. The sides of a picture are multiples of 64,
# which networks halve without a rest, and in the last trial are not, so that rounding shows.
_TRIALS = ((2, 1, 64), (11, 1, 64), (1999, -1, 1))


def _dynamic(given: Shapes) -> dict[str, bool]:
    """The dynamic axes of the inputs, and whether each is the side of a picture."""
    return {
        dim: len(shape) > 3 and axis > 1
        for shape in given.values()
        for axis, dim in enumerate(shape)
        if isinstance(dim, str)
    }


def _is_open(shape: tuple[Dim, ...], axes: Mapping[str, bool]) -> bool:
    return any(isinstance(dim, str) and dim not in axes for dim in shape)


def _lengths(axes: Mapping[str, bool], start: int, step: int, side: int) -> dict[str, int]:
    """A length for each axis, all different: primes from ``start`` on, times ``side`` for sides."""
    primes = (n for n in count(start, step) if all(n % k for k in range(2, math.isqrt(n) + 1)))
    return {
        dim: prime * side if is_side else prime
        for (dim, is_side), prime in zip(axes.items(), primes, strict=False)
    }


def _agreed(
    name: str,
    known: tuple[Dim, ...] | None,
    found: Sequence[tuple[Dim, ...] | None],
    dims: Sequence[Mapping[int, str]],
) -> tuple[Dim, ...] | None:
    """What is known of a shape, and what all trials say of it; None where nothing is."""
    shapes_found = [shape for shape in found if shape is not None]
    ranks = {len(shape) for shape in ([*shapes_found, known] if known else shapes_found)}
    if len(shapes_found) < len(found) or len(ranks) != 1:
        return known
    own = known or tuple(f"?{name}.{axis}" for axis in range(ranks.pop()))
    return tuple(
        dim if isinstance(dim, int) else _meant(dim, tried, dims)
        for dim, *tried in zip(own, *shapes_found, strict=True)
    )


def _meant(own: str, tried: Sequence[Dim], dims: Sequence[Mapping[int, str]]) -> Dim:
    """An axis that is as long in every trial, or as long as the same axis of an input."""
    if len(set(tried)) == 1 and isinstance(tried[0], int):
        return tried[0]
    names = {
        known.get(size) if isinstance(size, int) else None
        for size, known in zip(tried, dims, strict=True)
    }
    name = names.pop()
    return own if names or name is None else name


def _more(node: ir.Node, known: Shapes) -> tuple[Dim, ...] | None:
    """The shape of a node's output, where more of it can be told than is known."""
    before = known.get(str(node.outputs[0].name))
    source = known.get(str(node.inputs[0].name)) if node.inputs[0] is not None else None
    if source is None or (before is not None and _numbers(before) == len(before)):
        return None
    shape = _RULES[node.op_type](node, source, known)
    if shape is None or (before is not None and _numbers(shape) <= _numbers(before)):
        return None
    return tuple(shape)


def _numbers(shape: Sequence[Dim]) -> int:
    return sum(isinstance(size, int) for size in shape)


def _reshaped(node: ir.Node, source: tuple[Dim, ...], known: Shapes) -> list[Dim] | None:
    """The target of a Reshape, entry by entry; a -1 is what is left of the source."""
    target = sizes.entries(Place(node, 1), known)
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


def _size(entry: sizes.Entry, index: int, source: tuple[Dim, ...], known: Shapes) -> Dim:
    if entry.number == 0:
        return source[index] if index < len(source) else -1
    if entry.number is not None:
        return entry.number
    if entry.dim is not None:
        return known.get(str(entry.dim[0].name), ())[entry.dim[1]]
    return -1


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


def _ints(place: Place, known: Shapes) -> list[int] | None:
    found = static(place.value, known)
    return None if found is None else [int(number) for number in found.ravel()]


_RULES = {"Reshape": _reshaped, "Slice": _sliced}
