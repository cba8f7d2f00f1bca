"""Axes: where they are behind an operator that adds or drops others, and what runs over them."""

from __future__ import annotations

import math

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.context import Trace


def squeezed_axes(node: ir.Node, trace: Trace) -> list[int] | None:
    """The axes that a Squeeze drops or an Unsqueeze adds, from 0 on and in order."""
    longer = trace.shape(node.inputs[0] if node.op_type == "Squeeze" else node.outputs[0])
    if "axes" in node.attributes:
        axes: list[int] | None = list(node.attributes["axes"].as_ints())
    else:
        axes = constants.ints(Place(node, 1).value)
    if axes is None or longer is None:
        return None
    return sorted(axis % len(longer) for axis in axes)


def reduced_axes(node: ir.Node) -> set[int] | None:
    """The axes of a reduction, an attribute or a constant input; empty means all, None unknown."""
    if "axes" in node.attributes:
        return set(node.attributes["axes"].as_ints())
    if Place(node, 1).value is None:
        return set()
    found = constants.ints(node.inputs[1])
    return None if found is None else set(found)


def axis_behind(node: ir.Node, axis: int, axes: list[int]) -> int | None:
    """Where an axis is behind a Squeeze or Unsqueeze of ``axes``; None where it is dropped."""
    if node.op_type == "Squeeze":
        return None if axis in axes else axis - sum(gone < axis for gone in axes)
    for new in axes:
        axis += new <= axis
    return axis


_SUMS = ("ReduceSum", "ReduceMean")
_NORMALISE = ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization")


def is_reduced_over(value: ir.Value, trace: Trace, axis: int, *, sums: bool = True) -> bool:
    """Whether what reads a value reduces it along an axis or normalises it there.

    Readers behind a Transpose count, others behind operators do not. Without ``sums`` sums and
    means do not count either: where a channel is gone, the others can make up for it in them.
    """
    return any(_reduces(use.node, trace, axis, sums) for use in value.uses())


def _reduces(node: ir.Node, trace: Trace, axis: int, sums: bool) -> bool:
    if node.op_type == "Transpose" and "perm" in node.attributes:
        order = list(node.attributes["perm"].as_ints())
        behind = order.index(axis) if axis in order else None
        return behind is not None and is_reduced_over(node.outputs[0], trace, behind, sums=sums)
    shape = trace.shape(node.inputs[0])
    if shape is None or (node.op_type in _SUMS and not sums):
        return False
    if node.op_type.startswith("Reduce"):
        axes = reduced_axes(node)
        return axes is not None and (not axes or axis in {each % len(shape) for each in axes})
    return node.op_type in _NORMALISE and axis in _normalised_axes(node, trace, len(shape))


def _normalised_axes(node: ir.Node, trace: Trace, rank: int) -> set[int]:
    """The axes that a softmax or LpNormalization runs over."""
    given = node.attributes["axis"].as_int() if "axis" in node.attributes else None
    if node.op_type == "LpNormalization" or trace.graph.opset_imports.get("", 1) >= 13:
        return {(-1 if given is None else given) % rank}
    return set(range((1 if given is None else given) % rank, rank))


def times(count: int | None, dims: list[int | str]) -> int | None:
    """A count times some lengths, where all are known."""
    if count is None or any(not isinstance(dim, int) for dim in dims):
        return None
    return count * math.prod(dim for dim in dims if isinstance(dim, int))
