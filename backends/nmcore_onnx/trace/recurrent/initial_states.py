"""What recurrent layers begin with: nothing, zeros, constants, or channels of others.

A state is (directions, batch, H), or (batch, directions, H) where the layout is 1.
"""

from __future__ import annotations

import onnx_ir as ir

from nmcore.group import FloatArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.arrays import computable
from nmcore_onnx.ir.constant_folding import fold, folded_shape
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import label
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.recurrent.layout import CELL, HIDDEN, is_recurrent
from nmcore_onnx.trace.repeated_constants import follow_constant

# Far above what any exporter writes between an input, or zeros, and a layer that begins with it.
_LONGEST = 12
# Operators that give entries of what they read first, and nothing else.
_MOVING = (
    *("Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"),
    *("Slice", "Split", "Gather", "Expand", "Tile"),
)


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


def begins_layers(value: ir.Value) -> bool:
    """Whether all that reads a value are recurrent layers that begin with it, or parts of it."""
    uses = list(value.uses())
    return bool(uses) and all(
        use.idx in (HIDDEN, CELL)
        if is_recurrent(use.node)
        else _moves(use.node) and use.idx == 0 and all(map(begins_layers, use.node.outputs))
        for use in uses
    )


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
