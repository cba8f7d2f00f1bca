"""Keys and values of the past: inputs of a decoder, with those of each run put behind them.

An output gives them with the new ones, and callers feed it to the next run. They are (batch, heads,
length, size), perhaps with other orders of the axes, and with both in one on an axis in front.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import onnx_ir as ir

from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.slots import Past
from nmcore_onnx.trace.states.origins import origin

_MICROSOFT = "com.microsoft"
# Of attention as one operator: inputs that are of the past, the outputs that go on, and where heads
# and lengths are counted.
_FUSED = {
    ("Attention", ""): ({4: 1, 5: 2}, 1, 2),
    ("Attention", "ai.onnx"): ({4: 1, 5: 2}, 1, 2),
    ("MultiHeadAttention", _MICROSOFT): ({6: 1, 7: 2}, 1, 2),
    ("GroupQueryAttention", _MICROSOFT): ({3: 1, 4: 2}, 1, 2),
    ("Attention", _MICROSOFT): ({4: 1}, 2, 3),
}
# What may stand between what has been put together and the output that gives it.
_ONWARDS = ("Identity", "Cast", "Slice", "Transpose", "Unsqueeze", "Squeeze", "Reshape", "Concat")
_LONGEST = 6
# Batch, heads, length and size.
_RANK = 4


def find_pasts(trace: Trace) -> dict[ir.Value, Past]:
    """Every input that is of the past, in a graph that has been walked.

    What two places take for different things is none; nor is there any where no other input is
    left, as of a model that gives what it was given with something behind it.
    """
    found: dict[ir.Value, Past] = {}
    unsure: set[ir.Value] = set()
    for node in trace.graph:
        for value, past in _read(node, trace):
            if found.setdefault(value, past) != past:
                unsure.add(value)
    taken = [past.following for past in found.values()]
    pasts = {
        value: past
        for value, past in found.items()
        if value not in unsure and taken.count(past.following) == 1
    }
    others = [value for value in trace.graph.inputs if value.const_value is None]
    return pasts if len(others) > len(pasts) else {}


def begin(trace: Trace) -> None:
    """Let heads of the past be channels; they stay unless the trace may change them."""
    for value, past in trace.pasts.items():
        size = trace.size(value, past.heads)
        if size is None or size < 2:
            continue
        made = Channels(past.heads, trace.atoms.fresh(size))
        trace.channels[value] = made
        trace.states[value] = None
        if not trace.opens_states:
            trace.freeze(
                made.atoms,
                f"its channels join those of the past in the model's input {value.name!r}, whose "
                "shape would change: --states allows it",
            )


def _read(node: ir.Node, trace: Trace) -> Iterator[tuple[ir.Value, Past]]:
    """What a node reads that is of the past."""
    if node.op_type == "Concat" and node.domain in ("", "ai.onnx"):
        yield from _joined(node, trace)
    elif (node.op_type, node.domain) in _FUSED:
        given, heads, length = _FUSED[node.op_type, node.domain]
        for index, output in given.items():
            value = Place(node, index).value
            if value is not None and output < len(node.outputs):
                yield from _from_input(value, heads, length, node.outputs[output], trace)


def _joined(node: ir.Node, trace: Trace) -> Iterator[tuple[ir.Value, Past]]:
    """Keys or values that are put behind those of an input."""
    made = node.outputs[0]
    rank = len(trace.shape(made) or ())
    computed_with = any(use.node.op_type != "Shape" for use in made.uses())
    if len(node.inputs) != 2 or rank < _RANK or not computed_with:
        return
    length = node.attributes["axis"].as_int() % rank
    for index in (0, 1):
        value, other = node.inputs[index], trace.at(node, 1 - index)
        if value is not None and other is not None and other.axis != length:
            yield from _from_input(value, other.axis, length, made, trace)


def _from_input(
    value: ir.Value, heads: int, length: int, made: ir.Value, trace: Trace
) -> Iterator[tuple[ir.Value, Past]]:
    """The input that a value comes from, if an output gives what was made of it."""
    start, place = origin(value, length, trace)
    given = start.is_graph_input() and start.const_value is None and not start.is_initializer()
    floats = start.dtype is not None and start.dtype.is_floating_point()
    counted = origin(value, heads, trace)[1]
    if not given or not floats or place is None or counted is None:
        return
    following = [each for each in _outputs(made) if _alike(start, each, place, trace)]
    if len(following) == 1:
        yield start, Past(counted, place, following[0])


def _outputs(made: ir.Value) -> Iterator[ir.Value]:
    """The outputs of the model that hold a value, moved or beside others."""
    open_, seen = deque([(made, 0)]), {made}
    while open_:
        value, steps = open_.popleft()
        if value.is_graph_output():
            yield value
        for use in value.uses():
            moves = use.node.op_type in _ONWARDS and use.node.domain in ("", "ai.onnx")
            beside = use.idx == 0 or use.node.op_type == "Concat"
            behind = use.node.outputs[0]
            if moves and beside and steps < _LONGEST and behind not in seen:
                seen.add(behind)
                open_.append((behind, steps + 1))


def _alike(one: ir.Value, other: ir.Value, length: int, trace: Trace) -> bool:
    """Whether two values may have the same shape but for an axis."""
    before, behind = trace.shape(one), trace.shape(other)
    if before is None or behind is None or len(before) != len(behind):
        return False
    return one.dtype == other.dtype and all(
        axis == length or a == b or not (isinstance(a, int) and isinstance(b, int))
        for axis, (a, b) in enumerate(zip(before, behind, strict=True))
    )
