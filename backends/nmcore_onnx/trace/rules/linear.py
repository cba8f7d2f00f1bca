"""Products: those with a weight, which its adapter follows, and those of two computed values."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir.nodes import flag
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule


@rule(*operators.op_types())
@rule(*operators.op_types("com.microsoft"), domain="com.microsoft")
def linear(node: ir.Node, trace: Trace) -> None:
    """A weight's columns read channels and its rows make new ones, on the axes it has them."""
    operator = operators.find(node)
    assert operator is not None
    if operator.is_product(node) or _multiplies_channels(node, trace):
        _product(node, trace)
    else:
        operator.follow(node, trace)


def _multiplies_channels(node: ir.Node, trace: Trace) -> bool:
    """Whether both factors of a MatMul bring channels: a weight does not, though one that is
    computed from constants alone may, as the queries of a decoder for which a model has no input.
    """
    factors = [trace.at(node, index) for index in (0, 1)]
    return node.op_type in ("MatMul", "FusedMatMul") and None not in factors


def _product(node: ir.Node, trace: Trace) -> None:
    """A product of two computed values, such as attention's scores: heads are a batch axis.

    Channels pass on a batch axis that both have, on the rows of the first factor and on the columns
    of the second. Where the product sums over them nothing could make up for one that is gone.
    """
    shapes = [trace.shape(value) for value in node.inputs]
    left, right = trace.at(node, 0), trace.at(node, 1)
    if left is None and right is None:
        return
    if shapes[0] is None or shapes[1] is None or min(map(len, shapes)) < 2:  # type: ignore[arg-type]
        trace.decline_inputs(node, "a product of values whose rank is unknown")
        return
    ranks = [len(shape) for shape in shapes if shape is not None]
    # Axes counted from the end, as both factors are aligned there.
    ends = [
        None if found is None else _turned(found.axis - rank, flag(node, name))
        for found, rank, name in zip((left, right), ranks, ("transA", "transB"), strict=True)
    ]
    if flag(node, "transBatchA") or flag(node, "transBatchB"):
        trace.decline_inputs(node, "a product that turns batches")
        return
    out = _follow_product(trace, (left, right), ends, shapes, max(ranks))
    if out is None:
        trace.decline_inputs(node, "a product of two computed values that sums over them")
    else:
        trace.carry(node, out)


def _turned(end: int, turns: bool) -> int:
    """Where an axis is behind a swap of the last two, if there is one."""
    return -3 - end if turns and end >= -2 else end


def _follow_product(
    trace: Trace,
    factors: tuple[Channels | None, Channels | None],
    ends: list[int | None],
    shapes: list[tuple[int | str, ...] | None],
    rank: int,
) -> Channels | None:
    left, right = factors
    first, second = ends
    if left is not None and right is not None:
        assert first is not None
        assert second is not None
        if first != second or first > -3:
            return None
        return trace.join(left.at(first + rank), right.at(second + rank))
    channels, end = (left, first) if left is not None else (right, second)
    assert channels is not None
    assert end is not None
    if end == (-2 if left is not None else -1):
        return channels.at(end + rank)
    other = shapes[1 if left is not None else 0]
    assert other is not None
    alone = end <= -3 and (-end > len(other) or other[end] == 1)
    return channels.at(end + rank) if alone else None
