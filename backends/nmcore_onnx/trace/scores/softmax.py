"""Which nodes multiply queries with keys, and where these stand there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constant_folding import fold
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import attribute, flag, label, only_reader
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.heads import has_state
from nmcore_onnx.trace.operators import find
from nmcore_onnx.trace.scores.slots import HeadValue

# What is put in the place of a score is masked from here on.
_LOW = -1e4

# What may stand between scores and their softmax: none of it mixes keys.
_BETWEEN = ("Add", "Sub", "Mul", "Div", "Where", "Cast", "Identity", "Reshape", "Dropout")


@dataclass(frozen=True, eq=False)
class Meeting:
    """Queries and keys where they meet, or why that is not followed."""

    node: ir.Node
    query: HeadValue | None = None
    key: HeadValue | None = None
    reason: str = ""


def meetings(trace: Trace) -> Iterator[Meeting]:
    """Every product of queries and keys whose softmax over the keys follows, in order."""
    for node in trace.graph:
        if (node.op_type, node.domain) in _FUSED:
            yield _fused(node, trace)
            continue
        operator = find(node)
        if operator is None or not (operator.is_product(node) or node.op_type == "Einsum"):
            continue
        sides = _factors(node, trace)
        changed = _before_softmax(node.outputs[0], trace) if sides is not None else None
        if sides is not None and changed is not None:
            yield Meeting(node, *sides, reason=changed)


_MICROSOFT = "com.microsoft"
_FUSED = (
    ("Attention", ""),
    ("Attention", "ai.onnx"),
    ("Attention", _MICROSOFT),
    ("MultiHeadAttention", _MICROSOFT),
    ("GroupQueryAttention", _MICROSOFT),
)


def _fused(node: ir.Node, trace: Trace) -> Meeting:
    """Attention as one operator.

    1. ONNX's own on (batch, heads, length, size), or on (batch, length, heads * size).
    2. Of onnxruntime's the one whose values may be of another width, with a bias before it.
    """
    ranks = [len(trace.shape(value) or ()) for value in node.inputs[:3]]
    if node.op_type == "Attention" and node.domain != _MICROSOFT:
        state, counts = range(4, 6), ("q_num_heads", "kv_num_heads")
    elif node.op_type == "MultiHeadAttention":
        state, counts = range(6, 8), ("num_heads", "num_heads")
    else:
        return Meeting(node, reason="queries, keys and values come in one, or of one width")
    query, key = (Place(node, index).value for index in (0, 1))
    if query is None or key is None or len(ranks) < 3 or set(ranks) not in ({3}, {4}):
        return Meeting(node, reason="queries, keys and values come in one, or of unknown shape")
    if has_state(node, state):
        return Meeting(node, reason="keys and values are part of the model's interface")
    if node.domain == _MICROSOFT and Place(node, 3).value is not None:
        return Meeting(node, reason="biases of queries, keys and values come in one")
    if attribute(node, "softcap", 0.0) != 0:
        return Meeting(node, reason="large scores are bent")
    if ranks[0] == 4:
        return Meeting(node, HeadValue(query, 3, 1), HeadValue(key, 3, 1))
    heads = [node.attributes[name].as_int() if name in node.attributes else 0 for name in counts]
    if 0 in heads:
        return Meeting(node, reason="the number of heads is not known")
    return Meeting(node, HeadValue(query, 2, heads[0]), HeadValue(key, 2, heads[1]))


def _factors(node: ir.Node, trace: Trace) -> tuple[HeadValue, HeadValue] | None:
    """The two factors of scores (..., queries, keys), and the axis over which they are summed."""
    first, second = node.inputs[:2] if len(node.inputs) > 1 else (None, None)
    if first is None or second is None or first is second:
        return None
    ranks = [len(trace.shape(value) or ()) for value in (first, second)]
    if node.op_type == "Einsum":
        return _named(node, first, second, ranks)
    if min(ranks) < 3:
        return None
    turned = [False, False]
    if node.op_type == "FusedMatMul":
        turned = [flag(node, "transA"), flag(node, "transB")]
        if flag(node, "transBatchA") or flag(node, "transBatchB"):
            return None
    return (
        HeadValue(first, ranks[0] - (2 if turned[0] else 1), 1),
        HeadValue(second, ranks[1] - (1 if turned[1] else 2), 1),
    )


def _named(
    node: ir.Node, first: ir.Value, second: ir.Value, ranks: list[int]
) -> tuple[HeadValue, HeadValue] | None:
    """The factors of an Einsum; keys have the last index of the scores."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms, _, output = equation.partition("->")
    left, _, right = terms.partition(",")
    summed = [index for index in left if index in right and index not in output]
    plain = all(each.isalpha() and len(set(each)) == len(each) for each in (left, right, output))
    if not plain or len(summed) != 1 or [len(left), len(right)] != ranks:
        return None
    sides = HeadValue(first, left.index(summed[0]), 1), HeadValue(second, right.index(summed[0]), 1)
    last_of = output[-1] in right, output[-1] in left
    if last_of == (True, False):
        return sides
    return (sides[1], sides[0]) if last_of == (False, True) else None


def _before_softmax(scores: ir.Value, trace: Trace) -> str | None:
    """Why a constant a row may change the softmax over the last axis that scores end in.

    Empty where it changes nothing, None where they end in no such softmax.
    """
    value: ir.Value = scores
    reason, masked = "", False
    while (reader := only_reader(value)) is not None:
        shape = trace.shape(value)
        if reader.op_type == "Softmax":
            opset = trace.graph.opset_imports.get("", 1)
            axis = reader.attributes["axis"].as_int() if "axis" in reader.attributes else None
            if axis is None:
                axis = -1 if opset >= 13 else 1
            is_last = axis == -1 or (shape is not None and axis == len(shape) - 1)
            return reason if is_last else None
        if reader.op_type not in _BETWEEN or not _keeps_rows(reader, value, trace):
            return None
        if reader.op_type == "Where":
            masked = True
            if not _is_masked(reader, value, trace):
                reason = f"scores pass Where {label(reader)!r}, beside which others may count"
        if masked and reader.op_type in ("Mul", "Div"):  # what was too low to count may be no more
            reason = f"masked scores pass {reader.op_type} {label(reader)!r}"
        value = reader.outputs[0]
    return None


def _keeps_rows(node: ir.Node, value: ir.Value, trace: Trace) -> bool:
    """Whether a constant a row of scores is one behind a node, too."""
    if node.op_type in ("Mul", "Div"):
        if node.op_type == "Div" and node.inputs[0] is not value:
            return False
        return all(each is value or is_single(each, trace) for each in node.inputs)
    if node.op_type == "Where":
        return node.inputs[0] is not value
    if node.op_type == "Reshape":
        before, after = trace.shape(value), trace.shape(node.outputs[0])
        return bool(before and after) and before[-1:] == after[-1:]  # type: ignore[index]
    return node.op_type != "Sub" or node.inputs[0] is value


def _is_masked(node: ir.Node, value: ir.Value, trace: Trace) -> bool:
    """Whether what a Where puts beside scores is too low to count in a softmax.

    A constant that all scores of a query share would count against it otherwise.
    """
    for other in node.inputs[1:]:
        if other is value:
            continue
        found = constants.array(other)
        if found is None:
            found = fold(other, trace.shapes)
        # In bfloat16 the number itself is a little higher.
        if found is None or not (found <= np.array(_LOW).astype(found.dtype)).all():
            return False
    return True


def is_single(value: ir.Value | None, trace: Trace) -> bool:
    """Whether a value is known to hold one number."""
    shape = trace.shape(value)
    if shape is None and value is not None and value.const_value is not None:
        shape = tuple(int(size) for size in value.const_value.shape.numpy())
    return shape is not None and all(size == 1 for size in shape)
