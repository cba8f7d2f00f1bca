"""Which input of a recurrent layer holds what, and the order of its gates."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.nodes import flag

DATA, INPUT, RECURRENCE, BIAS, LENGTHS, HIDDEN, CELL, PEEPHOLES = range(8)
OP_TYPES = ("LSTM", "GRU", "RNN")
# A GRU's gates are update, reset and the new state.
RESET, NEW = 1, 2


def directions(node: ir.Node) -> int:
    """How many directions a layer has."""
    return (constants.shape(node.inputs[INPUT]) or (1,))[0]


def units(node: ir.Node) -> int:
    """How many units each direction has."""
    return (constants.shape(node.inputs[RECURRENCE]) or ())[2]


def resets_before(node: ir.Node) -> bool:
    """Whether a GRU multiplies the state by its reset gate before the last third of R reads it."""
    return node.op_type == "GRU" and not flag(node, "linear_before_reset")


def is_backward(node: ir.Node, direction: int) -> bool:
    """Whether a direction begins with the last step."""
    named = node.attributes.get("direction")
    return direction == 1 or (named is not None and named.as_string() == "reverse")


def half(index: int) -> int:
    """Which half of the biases belongs to the weight at input ``index``."""
    return 0 if index == INPUT else 1


def is_recurrent(node: ir.Node) -> bool:
    """Whether a node is a recurrent layer of ONNX itself."""
    return node.op_type in OP_TYPES and node.domain in ("", "ai.onnx")
