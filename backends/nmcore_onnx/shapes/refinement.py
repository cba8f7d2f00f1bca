"""Shapes that the inference leaves open, though the sizes that make them are known.

The inference reads no target of a Reshape of which it knows only some entries, and gives names of
its own to axes that it cannot tell to be as long as one of an input; sizes that are tried show
which are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import count

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.bodies import has_bodies
from nmcore_onnx.ir.types import Dim, Shapes
from nmcore_onnx.shapes import shape_operators
from nmcore_onnx.shapes.inference import Inference
from nmcore_onnx.shapes.per_node import NodeInference

# Each round may uncover what the next one needs, as in a chain of units that each halve and shuffle
# their channels. The longest ones known have 16 units.
_ROUNDS = 40


def refined(model: ir.Model) -> Shapes:
    """Shapes by value name; a dynamic axis is its name, an unknown one a name of its own."""
    known = _inferred(model)
    given = {
        value.name: known[value.name]
        for value in model.graph.inputs
        if value.name in known and value.const_value is None
    }
    axes = _dynamic(given)
    is_open = axes and any(_is_open(shape, axes) for shape in known.values())
    if not is_open and not has_bodies(model.graph):
        return known
    inference = NodeInference(model)
    trials = [_tried(inference, given, _lengths(axes, *trial)) for trial in _TRIALS]
    shortest = [_tried(inference, given, _shortest(axes, side))[0] for side in _SHORT_SIDES]
    for name in set(known).union(*(shapes for shapes, _ in trials)):
        agreed = _agreed(name, known.get(name), trials)
        if agreed is not None:
            own = known.get(name) or _unnamed(name, len(agreed))
            known[name] = _uncontradicted(agreed, own, [s.get(name) for s in shortest])
    return known


# The shapes for some lengths, and the axes that have them.
Trial = tuple[Shapes, Mapping[int, str]]


def _tried(inference: NodeInference, given: Shapes, lengths: Mapping[str, int]) -> Trial:
    inputs = {
        name: tuple(lengths[dim] if isinstance(dim, str) else dim for dim in shape)
        for name, shape in given.items()
    }
    return inference.shapes(inputs), {size: dim for dim, size in lengths.items()}


def _inferred(model: ir.Model) -> Shapes:
    inference = Inference(model)
    known = inference.shapes()
    for _ in range(_ROUNDS):
        new = {
            str(node.outputs[0].name): shape
            for node in model.graph
            if (shape := shape_operators.refine(node, known)) is not None
        }
        if not new:
            break
        inference.declare(new)
        known = inference.shapes()
    only = _only_lengths(model, known)
    return {
        name: tuple(only.get(dim, dim) if isinstance(dim, str) else dim for dim in shape)
        for name, shape in known.items()
    }


# Operators that read one number for each channel, on axis 1, at input 1.
_PER_CHANNEL = ("BatchNormalization", "InstanceNormalization")


def _only_lengths(model: ir.Model, known: Shapes) -> dict[str, int]:
    """Axes that are named, and can have but one length: as many channels as a norm has scales.

    Some exporters give several axes one name though they differ, so a name must be of one axis.
    """
    found = {}
    for node in model.graph:
        if node.op_type not in _PER_CHANNEL or node.domain not in ("", "ai.onnx"):
            continue
        data, scale = node.inputs[:2]
        shape = known.get(str(data.name)) if data is not None else None
        scales = constants.shape(scale)
        if shape is not None and len(shape) > 1 and isinstance(shape[1], str) and scales:
            found[shape[1]] = scales[0]
    given = [value for value in model.graph.inputs if value.const_value is None]
    named = [dim for value in given for dim in known.get(str(value.name), ())]
    return {dim: size for dim, size in found.items() if named.count(dim) < 2}


# Dynamic axes are tried with primes: very short ones, which a bound from below lifts, short ones,
# and long ones, which every bound from above cuts off. The last ones fall where the others rise, so
# that no axis is always so much longer than another. The sides of a picture are multiples of 64,
# which networks halve without a rest, and in the last trial are not, so that rounding shows.
_TRIALS = ((2, 1, 64), (11, 1, 64), (1999, -1, 1))


# What all trials cut off at the same bound may be shorter: axes of one, and sides so short that
# models may not run with them, tell where. They are too much alike to tell anything else.
_SHORT_SIDES = (8, 32)


def _shortest(axes: Mapping[str, bool], side: int) -> dict[str, int]:
    return {dim: side if is_side else 1 for dim, is_side in axes.items()}


def _uncontradicted(
    agreed: tuple[Dim, ...],
    own: tuple[Dim, ...],
    shortest: Sequence[tuple[Dim, ...] | None],
) -> tuple[Dim, ...]:
    """A shape without the numbers that short inputs do not have; those of ``own`` are certain."""
    others = [shape for shape in shortest if shape is not None and len(shape) == len(agreed)]

    def is_certain(axis: int) -> bool:
        return isinstance(own[axis], int) or all(
            shape[axis] == agreed[axis] or isinstance(shape[axis], str) for shape in others
        )

    return tuple(
        dim if isinstance(dim, str) or is_certain(axis) else own[axis]
        for axis, dim in enumerate(agreed)
    )


def _dynamic(given: Shapes) -> dict[str, bool]:
    """The dynamic axes of the inputs, and whether each is the side of a picture."""
    return {
        dim: len(shape) > 3 and axis > 0
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
    name: str, known: tuple[Dim, ...] | None, trials: Sequence[Trial]
) -> tuple[Dim, ...] | None:
    """What is known of a shape, and what all trials say of it; None where nothing is."""
    found = [shapes[name] for shapes, _ in trials if name in shapes]
    ranks = {len(shape) for shape in found} | ({len(known)} if known else set())
    if len(found) < len(trials) or len(ranks) != 1:
        return known
    own = known or _unnamed(name, ranks.pop())
    dims = [each for _, each in trials]
    return tuple(
        dim if isinstance(dim, int) else _meant(dim, tried, dims)
        for dim, *tried in zip(own, *found, strict=True)
    )


def _unnamed(name: str, rank: int) -> tuple[Dim, ...]:
    return tuple(f"?{name}.{axis}" for axis in range(rank))


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
