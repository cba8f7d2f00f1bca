"""What the weights of recurrent layers read and give, as values in the graph of a probe.

A layer gives its states as (steps, directions, batch, H), or (batch, steps, directions, H).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import flag, label
from nmcore_onnx.trace.recurrent.layout import (
    BIAS,
    DATA,
    HIDDEN,
    INPUT,
    NEW,
    RECURRENCE,
    RESET,
    directions,
    half,
    is_backward,
    resets_before,
    units,
)

# Activations without parameters that are ONNX operators by themselves.
_ACTIVATIONS = ("Sigmoid", "Tanh", "Relu", "Softsign", "Softplus")


def previous(build: Builder, node: ir.Node) -> list[ir.Value]:
    """The state before each step, (steps, batch, H), of each direction.

    Behind the end of a sequence that is shorter than others it is not what the layer has, but its
    rows do not differ between two copies of a model, but for what channels are gone.
    """
    given = node.outputs[0]
    if not given.name:  # an output that nothing else wants
        assert isinstance(node.graph, ir.Graph)
        given.name = names.value_name(node.graph, f"{label(node)}.states")
    first = flag(node, "layout")
    steps = build.node("Transpose", given, perm=[1, 0, 2, 3] if first else [0, 2, 1, 3])
    begin = _begin(build, node, steps)
    return [_shifted(build, node, steps, begin, direction) for direction in range(directions(node))]


def _begin(build: Builder, node: ir.Node, steps: ir.Value) -> ir.Value:
    """The initial state as (1, batch, directions, H)."""
    initial = Place(node, HIDDEN).value
    if initial is None:
        zero = np.zeros((), constants.dtype(node.inputs[INPUT]))
        return build.node("Mul", build.part(steps, 0, 1, axis=0), build.constant(zero))
    if not flag(node, "layout"):
        initial = build.node("Transpose", initial, perm=[1, 0, 2])
    shape = build.node("Concat", build.ints(1), build.node("Shape", initial), axis=0)
    return build.node("Reshape", initial, shape)


def _shifted(
    build: Builder, node: ir.Node, steps: ir.Value, begin: ir.Value, direction: int
) -> ir.Value:
    own, start = (
        build.node(
            "Reshape",
            build.part(value, direction, direction + 1, axis=2),
            build.ints(0, 0, -1),
        )
        for value in (steps, begin)
    )
    if is_backward(node, direction):
        return build.node("Concat", build.part(own, 1, None, axis=0), start, axis=0)
    return build.node("Concat", start, build.part(own, 0, -1, axis=0), axis=0)


def gates_of(
    build: Builder,
    node: ir.Node,
    index: int,
    value: ir.Value,
    direction: int,
    gates: slice,
) -> ir.Value:
    """What some gates of one direction make of a value (.., .., features), their bias included."""
    weight = node.inputs[index]
    assert weight is not None
    start, stop = gates.start * units(node), gates.stop * units(node)
    columns = (constants.shape(weight) or ())[2]
    weight = build.part(build.part(weight, direction, direction + 1, axis=0), start, stop, axis=1)
    weight = build.node("Reshape", weight, build.ints(stop - start, columns))
    total = build.node("MatMul", value, build.node("Transpose", weight, perm=[1, 0]))
    bias = Place(node, BIAS).value
    if bias is None:
        return total
    first = half(index) * ((constants.shape(bias) or ())[1] // 2)
    bias = build.part(
        build.part(bias, direction, direction + 1, axis=0), first + start, first + stop
    )
    return build.node("Add", total, build.node("Reshape", bias, build.ints(stop - start)))


def _gate_activation(build: Builder, node: ir.Node, value: ir.Value, direction: int) -> ir.Value:
    """A GRU's activation of its gates; a sigmoid stands for those that have parameters."""
    name = "Sigmoid"
    if "activations" in node.attributes:
        found = list(node.attributes["activations"].as_strings())
        place = direction * len(found) // directions(node)
        name = found[place] if found[place] in _ACTIVATIONS else name
    return build.node(name, value)


def reset_gate(build: Builder, node: ir.Node, state: ir.Value, direction: int) -> ir.Value:
    """The reset gate of a GRU, (steps, batch, H), for the state before each step."""
    gate, data = slice(RESET, RESET + 1), node.inputs[DATA]
    assert data is not None
    read_data = gates_of(build, node, INPUT, data, direction, gate)
    if flag(node, "layout"):
        read_data = build.node("Transpose", read_data, perm=[1, 0, 2])
    read_state = gates_of(build, node, RECURRENCE, state, direction, gate)
    total = build.node("Add", read_data, read_state)
    return _gate_activation(build, node, total, direction)


def read_states(build: Builder, node: ir.Node) -> ir.Value:
    """What R reads: the state before each step (steps, batch, H) of each direction, side by side.

    Where a GRU resets before, they stand there again, multiplied by its reset gate.
    """
    found = previous(build, node)
    if resets_before(node):
        gates = [reset_gate(build, node, each, k) for k, each in enumerate(found)]
        found += [build.node("Mul", *pair) for pair in zip(found, gates, strict=True)]
    return found[0] if len(found) == 1 else build.node("Concat", *found, axis=2)


def product(build: Builder, node: ir.Node, index: int, data: ir.Value, gates: int) -> ir.Value:
    """What W makes of ``data``, or R of the states, with its bias: (steps, batch,
    directions * gates * H), or with the first two axes as the data has them.
    """
    parts = []
    if index == INPUT:
        parts = [(data, direction, 0, gates) for direction in range(directions(node))]
    else:
        last = NEW if resets_before(node) else gates
        for direction, state in enumerate(previous(build, node)):
            parts.append((state, direction, 0, last))
            if last < gates:
                gate = reset_gate(build, node, state, direction)
                parts.append((build.node("Mul", state, gate), direction, last, gates))
    values = [
        gates_of(build, node, index, value, direction, slice(first, end))
        for value, direction, first, end in parts
    ]
    return values[0] if len(values) == 1 else build.node("Concat", *values, axis=2)
