"""States that are inputs and outputs of a model: callers feed what one run gives to the next.

Recurrent layers that work step by step have them, also where their cells are written out. Their
units are channels of the input as well as of the output, at the same places of both.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import label
from nmcore_onnx.ir.types import Dim
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.recurrent.layout import CELL, HIDDEN, is_recurrent
from nmcore_onnx.trace.states.origins import origin
from nmcore_onnx.trace.states.pairing import paired

# The units are the last axis of what a layer begins with, and of what its cells multiply.
_UNITS = 2


def begin(trace: Trace) -> None:
    """Let the states of a model be channels; they stay unless the trace may change them."""
    for value, axis, reader in _found(trace):
        size = trace.size(value, axis)
        if size is None or size < 2:
            continue
        made = Channels(axis, trace.atoms.fresh(size))
        trace.channels[value] = made
        trace.states[value] = None
        if not trace.opens_states:
            reason = f"{reader} begins with the model's input {value.name!r}, whose shape would"
            trace.freeze(made.atoms, f"{reason} change: --states allows it")


def close(trace: Trace) -> None:
    """Find the output that gives what each state is next, and tie its channels with it."""
    for value in trace.states:
        past, given = trace.pasts.get(value), trace.channels[value]
        chosen = _next(value, trace) if past is None else past.following
        made = None if chosen is None else trace.channels.get(chosen)
        if made is None or trace.join(given, made) is None:
            trace.freeze(
                given.atoms, f"no output is known to be what the input {value.name!r} is next"
            )
        else:
            trace.states[value] = chosen


def _next(value: ir.Value, trace: Trace) -> ir.Value | None:
    """The output that gives what a state is next; several are told apart by their names, or are in
    the order of the states.

    1. Outputs of the same channels, such as hidden state and cell.
    2. Outputs whose channels are the same, while those of the state only meet a weight.
    """
    given, known = trace.channels[value], trace.channels
    fitting = [each for each in trace.graph.outputs if each in known and _fits(value, each, trace)]
    own = [each for each in fitting if trace.same(given, known[each])]
    if own:
        rivals = [each for each in trace.states if trace.same(known[each], given)]
    else:
        own = fitting if all(trace.same(known[fitting[0]], known[each]) for each in fitting) else []
        rivals = [each for each in trace.states if any(_fits(each, one, trace) for one in own)]
    if not own:
        return None
    names = paired([str(each.name) for each in rivals], [str(each.name) for each in own])
    if names is None:
        return None
    chosen = names[rivals.index(value)]
    return next(each for each in own if each.name == chosen)


def _fits(value: ir.Value, output: ir.Value, trace: Trace) -> bool:
    return trace.channels[value].axis == trace.channels[output].axis and _alike(
        trace.shape(value), trace.shape(output)
    )


def _found(trace: Trace) -> Iterator[tuple[ir.Value, int, str]]:
    """Each state, the axis of its units, and who begins with it.

    Layers begin with it; or it is a factor of a product with a computed gate; or a weight reads it,
    and another input of the same shape is such a factor.
    """
    graph = trace.graph
    inputs = [value for value in graph.inputs if value.const_value is None]
    outputs = [trace.shape(value) for value in graph.outputs]
    possible = {
        value
        for value in inputs
        if len(inputs) > 1
        and value.dtype is not None
        and value.dtype.is_floating_point()
        and any(_alike(trace.shape(value), shape) for shape in outputs)
    }
    gated = {start for node in graph for start in _gated(node, trace)}
    sizes = {trace.shape(value) for value in gated}
    seen: set[ir.Value] = set()
    for node in graph:
        for value, read in _read(node, trace):
            start, axis = origin(value, read, trace)
            fits = is_recurrent(node) or trace.shape(start) in sizes
            if start in possible and start not in seen and axis is not None and fits:
                seen.add(start)
                yield start, axis, f"{node.op_type} {label(node)!r}"


def _alike(one: tuple[Dim, ...] | None, other: tuple[Dim, ...] | None) -> bool:
    """Whether two shapes may be the same."""
    return (
        one is not None
        and other is not None
        and len(one) == len(other)
        and all(
            a == b or not (isinstance(a, int) and isinstance(b, int))
            for a, b in zip(one, other, strict=True)
        )
    )


def _read(node: ir.Node, trace: Trace) -> Iterator[tuple[ir.Value, int]]:
    """What a node begins with, or multiplies with a weight or a gate, and the axis of its units."""
    if is_recurrent(node):
        for index in (HIDDEN, CELL):
            value = Place(node, index).value
            if value is not None:
                yield value, _UNITS
    elif node.op_type == "Mul":
        for value in node.inputs:
            shape = trace.shape(value)
            if value is not None and shape:
                yield value, len(shape) - 1
    elif node.op_type in ("MatMul", "Gemm"):
        value, weight = node.inputs[:2]
        shape = trace.shape(value)
        if value is not None and shape and len(constants.shape(weight) or ()) == 2:
            yield value, len(shape) - 1


def _gated(node: ir.Node, trace: Trace) -> Iterator[ir.Value]:
    """The inputs of the model that a product with a computed value takes a factor from."""
    if node.op_type != "Mul" or any(constants.tensor(value) is not None for value in node.inputs):
        return
    starts = [origin(value, 0, trace)[0] for value in node.inputs if value is not None]
    given = [value for value in starts if value.is_graph_input()]
    if len(given) == 1:
        yield given[0]
