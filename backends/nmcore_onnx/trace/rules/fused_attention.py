"""Attention as one operator: heads stand side by side, not mixed; each stays or goes as a whole."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.heads import (
    NO_WEIGHTS,
    has_state,
    heads_of,
    mask_follows,
    spread,
    tied,
    unite,
)
from nmcore_onnx.trace.rule_registry import rule

_STATE = "whose keys and values are part of the model's interface"
_MASK = "whose mask has an entry for each head that cannot shrink"


@rule("Attention")
def attention(node: ir.Node, trace: Trace) -> None:
    """ONNX's own, since opset 23, with as many value heads as key heads.

    1. Queries, keys and values (batch, heads, length, size).
    2. (batch, length, heads * size), with the numbers of heads as attributes.
    """
    if not _is_reached(node, trace):
        return
    shapes = [trace.shape(value) for value in node.inputs[:3]]
    ranks = {0 if shape is None else len(shape) for shape in shapes}
    if ranks not in ({3}, {4}):
        trace.decline_inputs(node, "whose heads are not known")
        return
    axis = 1 if ranks == {4} else 2
    if axis == 1:
        counts = [_length(trace, node, index, 1) for index in range(3)]
    else:
        counts = [_number(node, name) for name in ("q_num_heads", *["kv_num_heads"] * 2)]
    found = [
        heads_of(trace, value, axis, count)
        for value, count in zip(node.inputs[:3], counts, strict=True)
    ]
    heads = _joined(node, trace, found, range(4, 6), mask=3)
    if heads is None:
        return
    _recount(node, trace, heads, "q_num_heads", "kv_num_heads")
    if axis == 1:
        trace.carry(node, Channels(1, heads[0]))
    else:
        trace.carry(node, spread(heads[0], _length(trace, node, 2, 2) // counts[2]))


@rule("MultiHeadAttention", domain="com.microsoft")
def multi_head(node: ir.Node, trace: Trace) -> None:
    """onnxruntime's, with a bias for all three and as many heads of each.

    1. Queries, keys and values (batch, length, heads * size).
    2. All in one (batch, length, heads, 3, size).
    """
    if not _is_reached(node, trace):
        return
    count, shape = _number(node, "num_heads"), trace.shape(node.inputs[0])
    key = Place(node, 1).value
    bias = Place(node, 3).value
    if shape is not None and len(shape) == 5 and key is None and bias is None:
        own = heads_of(trace, node.inputs[0], 2, count)
        sizes = (0, 0, _length(trace, node, 0, 4))
        found = [own, own, own]
    else:
        found = [heads_of(trace, value, 2, count) for value in node.inputs[:3]]
        sizes = tuple(_length(trace, node, index, 2) // max(count, 1) for index in range(3))
    heads = _joined(node, trace, found, range(6, 10), mask=5)
    if heads is None:
        return
    if bias is not None:
        owners = [np.repeat(each, size) for each, size in zip(heads, sizes, strict=True)]
        trace.slice(node, 3, 0, Channels(0, np.concatenate(owners)))
    _recount(node, trace, heads, "num_heads")
    trace.carry(node, spread(heads[0], sizes[2]))


@rule("GroupQueryAttention", domain="com.microsoft")
def grouped_queries(node: ir.Node, trace: Trace) -> None:
    """onnxruntime's of language models, with fewer key and value heads than query heads.

    1. Queries, keys and values (batch, length, heads * size).
    2. All in one (batch, length, (query heads + 2 key heads) * size).
    """
    if not _is_reached(node, trace):
        return
    counts = [_number(node, name) for name in ("num_heads", *["kv_num_heads"] * 2)]
    if Place(node, 1).value is None:
        owners = _packed(trace, node, counts)
        found = [None if part is None else tied(trace, part, n) for part, n in owners]
        size = _length(trace, node, 0, 2) // max(sum(counts), 1)
    else:
        found = [
            heads_of(trace, value, 2, count)
            for value, count in zip(node.inputs[:3], counts, strict=True)
        ]
        size = _length(trace, node, 0, 2) // max(counts[0], 1)
    # Scales of a quantised state may differ between heads.
    if any(Place(node, index).value is not None for index in (12, 13)):
        trace.decline_inputs(node, _STATE)
        return
    heads = _joined(node, trace, found, range(3, 5), mask=10)
    if heads is None:
        return
    if Place(node, 11).value is not None:  # an entry a head that is added where it sums
        trace.slice(node, 11, 0, Channels(0, heads[0]))
    _recount(node, trace, heads, "num_heads", "kv_num_heads")
    trace.carry(node, spread(heads[0], size))


def _is_reached(node: ir.Node, trace: Trace) -> bool:
    return any(trace.at(node, index) is not None for index in range(len(node.inputs)))


def _joined(
    node: ir.Node, trace: Trace, found: list[IntArray | None], state: range, mask: int
) -> tuple[IntArray, IntArray, IntArray] | None:
    """The heads of queries, keys and values, tied with each other; declines where they cannot be.

    ``state`` are the inputs that hold a past, ``mask`` is the one that is added to the scores.
    """
    query, key, value = found
    if has_state(node, state):
        trace.decline_inputs(node, _STATE)
    elif query is None or key is None or value is None or not unite(trace, query, key, value):
        trace.decline_inputs(node, NO_WEIGHTS)
    elif not mask_follows(node, mask, query, trace):
        trace.decline_inputs(node, _MASK)
    else:
        return query, key, value
    return None


def _packed(trace: Trace, node: ir.Node, counts: list[int]) -> list[tuple[IntArray | None, int]]:
    """The owners of the queries, keys and values that stand side by side on one axis."""
    channels = trace.at(node)
    owners = None if channels is None or channels.axis != 2 else channels.owners()
    total = sum(counts)
    if owners is None or min(counts) < 1 or len(owners) % total:
        return [(None, count) for count in counts]
    size = len(owners) // total
    parts = np.split(owners, np.cumsum(counts)[:-1] * size)
    return list(zip(parts, counts, strict=True))


def _recount(node: ir.Node, trace: Trace, heads: tuple[IntArray, ...], *names: str) -> None:
    """The numbers of heads, where they are given, shrink with them."""
    for name, counted in zip(names, heads, strict=False):
        if name in node.attributes:
            trace.count(node, name, counted)


def _number(node: ir.Node, name: str) -> int:
    return node.attributes[name].as_int() if name in node.attributes else 0


def _length(trace: Trace, node: ir.Node, index: int, axis: int) -> int:
    """The length of an axis of an input; 0 where it is not known."""
    return trace.size(Place(node, index).value, axis) or 0
