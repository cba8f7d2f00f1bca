"""Attention as one operator: heads stand side by side, not mixed; each stays or goes as a whole."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.heads import (
    Heads,
    follow_past,
    has_state,
    heads_of,
    mask_follows,
    tied,
    unite,
)
from nmcore_onnx.trace.rule_registry import rule

_NO_WEIGHTS = "whose heads do not all come from weights that can shrink"
_STATE = "whose keys and values are part of the model's interface"
# Outputs from here on give scores.
_SCORES = 3
_MASK = "whose mask has an entry for each head that cannot shrink"
_OTHERS = "which takes them for something else than queries, keys or values"


class _Inputs(NamedTuple):
    """What an operator reads beside queries, keys and values at inputs 0 to 2.

    Attributes
    ----------
    past : tuple of int
        Keys and values of the past.
    state : range
        What else tells that there are some.
    mask : int
        What is added to the scores.
    own : tuple of int
        What has entries a head, and is cut with them.
    """

    past: tuple[int, int]
    state: range
    mask: int
    own: tuple[int, ...] = ()


@rule("Attention")
def attention(node: ir.Node, trace: Trace) -> None:
    """ONNX's own, since opset 23.

    1. Queries, keys and values (batch, heads, length, size).
    2. (batch, length, heads * size), with the numbers of heads as attributes.
    """
    values, ranks = node.inputs[:3], _ranks(node, trace)
    found: list[Heads | None] = [None] * 3
    if ranks == {4}:
        found = [_apart(trace, value) for value in values]
    elif ranks == {3}:
        counts = _numbers(node, "q_num_heads", "kv_num_heads", "kv_num_heads")
        found = [heads_of(trace, *each) for each in zip(values, (2, 2, 2), counts, strict=True)]
    heads = _joined(node, trace, found, _Inputs(past=(4, 5), state=range(6, 6), mask=3))
    if heads is None:
        return
    _recount(node, trace, heads, "q_num_heads", "kv_num_heads")
    if ranks == {4}:
        trace.carry(node, Channels(1, heads[0].atoms))
    else:
        _carry_side_by_side(node, trace, heads)


@rule("MultiHeadAttention", domain="com.microsoft")
def multi_head(node: ir.Node, trace: Trace) -> None:
    """Attention of onnxruntime with as many heads of each and a bias for all three in one.

    Queries, keys and values are (batch, length, heads * size). Several of them in one value stay.
    """
    found: list[Heads | None] = [None] * 3
    if _ranks(node, trace) == {3}:
        (count,) = _numbers(node, "num_heads")
        found = [heads_of(trace, value, 2, count) for value in node.inputs[:3]]
    inputs = _Inputs(past=(6, 7), state=range(8, 10), mask=5, own=(3,))
    heads = _joined(node, trace, found, inputs)
    if heads is None:
        return
    if Place(node, 3).value is not None:
        owners = np.concatenate([each.owners() for each in heads])
        trace.slice(node, 3, 0, Channels(0, owners))
    _recount(node, trace, heads, "num_heads")
    _carry_side_by_side(node, trace, heads)


@rule("GroupQueryAttention", domain="com.microsoft")
def grouped_queries(node: ir.Node, trace: Trace) -> None:
    """Attention of language models in onnxruntime, with fewer key and value heads than query heads.

    1. Queries, keys and values (batch, length, heads * size).
    2. All in one (batch, length, (query heads + 2 key heads) * size).
    """
    counts = _numbers(node, "num_heads", "kv_num_heads", "kv_num_heads")
    found: list[Heads | None] = [None] * 3
    if Place(node, 1).value is None:
        found = _in_one(node, trace, counts)
    elif _ranks(node, trace) == {3}:
        found = [
            heads_of(trace, value, 2, count)
            for value, count in zip(node.inputs[:3], counts, strict=True)
        ]
    if any(Place(node, index).value is not None for index in (12, 13)):
        found = [None] * 3  # the scales of a quantised state may differ between heads
    heads = _joined(node, trace, found, _Inputs((3, 4), state=range(5, 5), mask=10, own=(11,)))
    if heads is None:
        return
    if Place(node, 11).value is not None:  # an entry a query head that its softmax sums too
        trace.slice(node, 11, 0, Channels(0, heads[0].atoms))
    _recount(node, trace, heads, "num_heads", "kv_num_heads")
    _carry_side_by_side(node, trace, heads)


def _joined(
    node: ir.Node, trace: Trace, found: list[Heads | None], inputs: _Inputs
) -> tuple[Heads, Heads, Heads] | None:
    """The heads of queries, keys and values, tied with each other; declines where they cannot be.

    Channels that reach any other input stay.
    """
    query, key, value = found
    if has_state(node, inputs.state, _SCORES):
        trace.decline_inputs(node, _STATE)
    elif query is None or key is None or value is None or not unite(trace, query, key, value):
        trace.decline_inputs(node, _NO_WEIGHTS)
    elif not mask_follows(node, inputs.mask, query, trace):
        trace.decline_inputs(node, _MASK)
    elif not follow_past(node, trace, inputs.past, (key, value)):
        trace.decline_inputs(node, _STATE)
    else:
        for index in range(3, len(node.inputs)):
            other = trace.at(node, index)
            if other is not None and index not in (inputs.mask, *inputs.own, *inputs.past):
                trace.decline(node, other, _OTHERS)
        return query, key, value
    return None


def _apart(trace: Trace, value: ir.Value | None) -> Heads | None:
    """Heads that are axis 1 of a value."""
    channels = trace.channels.get(value) if value is not None else None
    count = None if channels is None else channels.length
    return None if count is None else heads_of(trace, value, 1, count)


def _in_one(node: ir.Node, trace: Trace, counts: list[int]) -> list[Heads | None]:
    """Queries, keys and values that stand side by side on the last axis of input 0."""
    channels, shape = trace.at(node), trace.shape(node.inputs[0])
    owners = None if channels is None or channels.axis != 2 else channels.owners()
    total = sum(counts)
    if owners is None or shape is None or len(shape) != 3 or min(counts) < 1:
        return [None] * 3
    if len(owners) % total:
        return [None] * 3
    parts = np.split(owners, np.cumsum(counts)[:-1] * (len(owners) // total))
    return [tied(trace, part, count) for part, count in zip(parts, counts, strict=True)]


def _carry_side_by_side(node: ir.Node, trace: Trace, heads: tuple[Heads, Heads, Heads]) -> None:
    """The output (batch, length, query heads * size of the values)."""
    query, _, value = heads
    trace.carry(node, Channels(2, np.repeat(query.atoms, value.size)))


def _recount(node: ir.Node, trace: Trace, heads: tuple[Heads, ...], *names: str) -> None:
    """The numbers of query and key heads, where they are given, shrink with them."""
    for name, counted in zip(names, heads, strict=False):
        if name in node.attributes:
            trace.count(node, name, counted.atoms)


def _ranks(node: ir.Node, trace: Trace) -> set[int]:
    """How many axes queries, keys and values have; 0 where that is not known."""
    return {len(trace.shape(Place(node, index).value) or ()) for index in range(3)}


def _numbers(node: ir.Node, *names: str) -> list[int]:
    """Attributes that count heads; 0 where one is not given."""
    return [node.attributes[name].as_int() if name in node.attributes else 0 for name in names]
