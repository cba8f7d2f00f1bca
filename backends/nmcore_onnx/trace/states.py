"""The states of recurrent layers: where they begin, and what they were one step before.

A state is (directions, batch, H), or (batch, directions, H) where the layout is 1; a layer gives
all of them as (steps, directions, batch, H), or (batch, steps, directions, H).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray
from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.arrays import computable
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.constant_folding import fold, folded_shape
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import flag, label
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.repeated_constants import follow_constant

INPUT, RECURRENCE, BIAS, HIDDEN = 1, 2, 3, 5
# Far above what any exporter writes between an input, or zeros, and a layer that begins with it.
_LONGEST = 12
# Operators that give entries of what they read first, and nothing else.
_MOVING = (
    *("Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"),
    *("Slice", "Split", "Gather", "Expand", "Tile"),
)
# Activations without parameters that are ONNX operators by themselves.
_ACTIVATIONS = ("Sigmoid", "Tanh", "Relu", "Softsign", "Softplus")


def follow_initial(node: ir.Node, index: int, made: Channels, trace: Trace) -> None:
    """Let an initial state at input ``index`` shrink with the units ``made``.

    1. Channels arrive: those of an encoder, say. They are the same units.
    2. It is zero, which is what a layer begins with by itself: it is left out.
    3. It is a constant, also one that is repeated for each input of a batch: it is cut.

    Anything else keeps the units, such as a state that is an input of the model.
    """
    value, arriving = Place(node, index).value, trace.at(node, index)
    if value is None:
        return
    if arriving is None and is_zero(value):
        trace.zero(node, index, made.atoms)
    elif arriving is None and folded_shape(value) is not None:
        trace.slice(node, index, made.axis, made)
    else:
        arriving = arriving or follow_constant(node, index, made.axis, trace)
        if arriving is None:
            trace.freeze(made.atoms, _why_fixed(node, value))
        elif trace.join(made, arriving) is None:
            trace.decline(node, arriving, "which begins with them and has other units")
            trace.freeze(made.atoms, "its initial state does not fit its units")


def _why_fixed(node: ir.Node, value: ir.Value) -> str:
    start, begins = _moved_from(value), f"{node.op_type} {label(node)!r} begins with"
    if start.is_graph_input():
        return f"{begins} the model's input {start.name!r}, whose shape would change"
    return f"{begins} a state whose channels stay"


def _moved_from(value: ir.Value) -> ir.Value:
    """What a value is taken from by operators that move entries."""
    for _ in range(_LONGEST):
        maker = value.producer()
        if maker is None or not _moves(maker) or maker.inputs[0] is None:
            break
        value = maker.inputs[0]
    return value


def _moves(node: ir.Node) -> bool:
    return node.op_type in _MOVING and node.domain in ("", "ai.onnx")


def is_zero(value: ir.Value) -> bool:
    """Whether a value is plainly zero, of whatever size."""
    value = _moved_from(value)
    found, maker = constants.array(value), value.producer()
    if found is not None:
        return found.dtype.kind != "O" and not found.any()
    if maker is None or maker.domain not in ("", "ai.onnx"):
        return False
    if maker.op_type == "Concat":
        return all(each is not None and is_zero(each) for each in maker.inputs)
    if maker.op_type != "ConstantOfShape":
        return False
    fill = maker.attributes.get("value")
    return fill is None or not fill.as_tensor().numpy().any()


def initial_constant(value: ir.Value | None, units: int) -> FloatArray | None:
    """The constant that a layer begins with as (H, n); None where it is zero or no constant."""
    if value is None:
        return None
    known = folded_shape(value) is not None
    found = fold(value) if known else constants.array(_moved_from(value))
    if found is None or found.ndim == 0 or found.shape[-1] != units or not found.any():
        return None
    return computable(found).reshape(-1, units).T


# probes


def previous(build: Builder, node: ir.Node, directions: int) -> list[ir.Value]:
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
    return [_shifted(build, node, steps, begin, direction) for direction in range(directions)]


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
    if _is_backward(node, direction):
        return build.node("Concat", build.part(own, 1, None, axis=0), start, axis=0)
    return build.node("Concat", start, build.part(own, 0, -1, axis=0), axis=0)


def _is_backward(node: ir.Node, direction: int) -> bool:
    named = node.attributes.get("direction")
    return direction == 1 or (named is not None and named.as_string() == "reverse")


def product(
    build: Builder,
    node: ir.Node,
    index: int,
    value: ir.Value,
    direction: int,
    units: int,
    gates: slice,
) -> ir.Value:
    """What some gates of one direction make of a value (.., .., features), their bias included."""
    weight = node.inputs[index]
    assert weight is not None
    start, stop = gates.start * units, gates.stop * units
    columns = (constants.shape(weight) or ())[2]
    weight = build.part(build.part(weight, direction, direction + 1, axis=0), start, stop, axis=1)
    weight = build.node("Reshape", weight, build.ints(stop - start, columns))
    total = build.node("MatMul", value, build.node("Transpose", weight, perm=[1, 0]))
    bias = Place(node, BIAS).value
    if bias is None:
        return total
    half = 0 if index == INPUT else (constants.shape(bias) or ())[1] // 2
    bias = build.part(build.part(bias, direction, direction + 1, axis=0), half + start, half + stop)
    return build.node("Add", total, build.node("Reshape", bias, build.ints(stop - start)))


def gate_activation(build: Builder, node: ir.Node, value: ir.Value, direction: int) -> ir.Value:
    """A GRU's activation of its gates; a sigmoid stands for those that have parameters."""
    name = "Sigmoid"
    if "activations" in node.attributes:
        found = list(node.attributes["activations"].as_strings())
        place = direction * len(found) // (constants.shape(node.inputs[INPUT]) or (1,))[0]
        name = found[place] if found[place] in _ACTIVATIONS else name
    return build.node(name, value)
