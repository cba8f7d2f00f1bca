"""Which query heads meet which key heads in a product."""

from __future__ import annotations

import math

from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.scores.layout import (
    Layout,
    Part,
    UnknownOrderError,
    is_in_order,
    layout,
    meet,
)
from nmcore_onnx.trace.scores.slots import Side
from nmcore_onnx.trace.scores.softmax import Meeting


def wrong_order(meeting: Meeting, query: Side, key: Side, width: int, trace: Trace) -> str:
    """Why query head i is not known to meet key head i // shared alone; empty where it is."""
    if key.heads == 1:
        return ""
    try:
        layouts = [layout(side.values, side.heads, width, trace) for side in (query, key)]
        pairs = _pairs(meeting, *layouts)
    except UnknownOrderError:
        return "which of its query heads meet which key heads is not understood"
    if is_in_order(pairs, query.heads // key.heads):
        return ""
    return "its query heads meet key heads in another order than they are made"


def _pairs(meeting: Meeting, query: Layout, key: Layout) -> list[tuple[Part, Part]]:
    """What runs side by side in a product."""
    assert meeting.query is not None
    assert meeting.key is not None
    heads = [_heads(query, meeting.query.axis), _heads(key, meeting.key.axis)]
    node = meeting.node
    if node.op_type in ("Attention", "MultiHeadAttention"):
        if len(query) == 4:
            if any(heads):
                raise UnknownOrderError
            heads = [query[1], key[1]]
        rows, columns, read = query[-2], key[-2], _shared(*heads)
        return meet([query[0], heads[0], rows, []], [key[0], read, [], columns])
    if any(heads):
        raise UnknownOrderError
    if node.op_type == "Einsum":
        return _by_name(meeting, query, key)
    rows, columns = (
        parts[-1 if each.axis == len(parts) - 2 else -2]
        for parts, each in ((query, meeting.query), (key, meeting.key))
    )
    return meet([*query[:-2], rows, []], [*key[:-2], [], columns])


def _heads(parts: Layout, axis: int) -> list[Part]:
    """What stands on the axis of the channels beside them."""
    if not parts[axis] or not parts[axis][-1].is_channel:
        raise UnknownOrderError
    return parts[axis][:-1]


def _shared(query: list[Part], key: list[Part]) -> list[Part]:
    """Key heads as an operator reads them: each for as many query heads as there are more."""
    sizes = []
    for parts in (query, key):
        known = [part.size for part in parts if isinstance(part.size, int)]
        if len(known) < len(parts):
            raise UnknownOrderError
        sizes.append(math.prod(known))
    times, left = divmod(sizes[0], sizes[1])
    if left:
        raise UnknownOrderError
    return key if times == 1 else [*key, Part(times)]


def _by_name(meeting: Meeting, query: Layout, key: Layout) -> list[tuple[Part, Part]]:
    """As an Einsum pairs axes."""
    assert meeting.query is not None
    equation = meeting.node.attributes["equation"].as_string().replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    if meeting.query.value is not meeting.node.inputs[0]:
        terms.reverse()
    summed = terms[0][meeting.query.axis]
    sides = [dict(zip(*each, strict=True)) for each in zip(terms, (query, key), strict=True)]
    names = [name for name in dict.fromkeys("".join(terms)) if name != summed]
    return meet(*([side.get(name, []) for name in names] for side in sides))
