"""Operators that work on every element alone; NumPy's broadcasting aligns several inputs."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constant_folding import folded_shape
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.repeated_constants import follow_constant
from nmcore_onnx.trace.rule_registry import rule


@rule(
    *["Relu", "LeakyRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Tanh", "Softsign"],
    *["Softplus", "Sigmoid", "HardSigmoid", "HardSwish", "Mish", "Gelu", "Swish", "Erf"],
    *["Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Sign", "Floor", "Ceil", "Round"],
    *["Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"],
    *["Identity", "Not", "BitwiseNot", "IsNaN", "IsInf", "Shrink"],
)
@rule("Gelu", "QuickGelu", "FastGelu", "BiasGelu", domain="com.microsoft")
def unary(node: ir.Node, trace: Trace) -> None:
    """One input, the same function on every element."""
    if len(node.inputs) > 1:
        # com.microsoft's FastGelu and BiasGelu take a bias as a second input.
        broadcast(node, trace)
    elif (channels := trace.at(node)) is not None:
        trace.carry(node, channels)


@rule("Dropout")
def dropout(node: ir.Node, trace: Trace) -> None:
    """Nothing at inference; its mask is of no use to anybody."""
    channels = trace.at(node)
    if channels is None:
        return
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        trace.decline(node, channels, "whose mask is used")
    trace.carry(node, channels)


@rule("Cast", "CastLike")
def cast(node: ir.Node, trace: Trace) -> None:
    """Between floating-point types and truth values only: integers may mean that they are
    counted.
    """
    channels = trace.at(node)
    if channels is None:
        trace.decline_inputs(node, "which takes its type from them")
        return
    kind = ir.DataType(node.attributes["to"].as_int()) if node.op_type == "Cast" else None
    if kind is not None and not kind.is_floating_point() and kind != ir.DataType.BOOL:
        trace.decline(node, channels, "which makes them integers")
        return
    trace.carry(node, channels)


@rule(
    *["Clip", "Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Min", "Max", "Sum", "Mean", "Where"],
    *["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Xor", "Mod"],
    *["BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift"],
)
def broadcast(node: ir.Node, trace: Trace) -> None:
    """Several inputs: traced ones are joined, constants are sliced along the aligned axis."""
    if not any(trace.at(node, index) for index in range(len(node.inputs))):
        return
    ranks = _ranks(node, trace)
    if ranks is None:
        trace.decline_inputs(node, "where an input's rank is unknown")
        return
    channels = _joined(node, trace, ranks)
    if channels is None:
        return
    rank = max(ranks)
    for index, value in enumerate(node.inputs):
        axis = channels.axis - (rank - ranks[index])
        if value is None or axis < 0 or _is_traced(node, trace, index):
            continue
        channels = _aligned(node, trace, index, axis, channels)
    trace.carry(node, channels)


# Which match values of different origin, one of which says how much of the other passes.
_GATES = ("Mul", "Div")


def _ranks(node: ir.Node, trace: Trace) -> list[int] | None:
    shapes = [trace.shape(value) if value is not None else () for value in node.inputs]
    shapes = [
        shape if shape is not None else constants.shape(value)
        for shape, value in zip(shapes, node.inputs, strict=True)
    ]
    return (
        None
        if any(shape is None for shape in shapes)
        else [len(s) for s in shapes if s is not None]
    )


def _is_traced(node: ir.Node, trace: Trace, index: int) -> bool:
    """Whether an input brings channels; a single one is broadcast, like any axis of length one."""
    channels = trace.at(node, index)
    return channels is not None and channels.length != 1


def _joined(node: ir.Node, trace: Trace, ranks: list[int]) -> Channels | None:
    """The channels of all traced inputs as one, on the output's axis; None where they do not fit.

    Values with one channel come last: beside wider ones they are broadcast and have to stay.
    """
    rank = max(ranks)
    found = [
        each.at(each.axis + rank - ranks[index])
        for index in range(len(node.inputs))
        if (each := trace.at(node, index)) is not None
    ]
    wide = [channels for channels in found if channels.length != 1]
    for channels in found:
        if wide and channels.length == 1:
            trace.decline(node, channels, "where they are broadcast")
    merged, *others = wide or found
    for channels in others:
        joined = trace.join(merged, channels, gate=node.op_type in _GATES)
        if joined is None:
            trace.decline_inputs(node, "where they meet others that do not fit")
            return None
        merged = joined
    return merged


def _aligned(node: ir.Node, trace: Trace, index: int, axis: int, channels: Channels) -> Channels:
    """Align an input without channels; what cannot be sliced keeps the channels as they are."""
    value = node.inputs[index]
    fixed = folded_shape(value)
    shape = fixed if fixed is not None else trace.shape(value)
    size = shape[axis] if shape is not None else None
    if size == 1 and channels.length != 1:
        return channels
    atoms = channels.expand(size) if isinstance(size, int) else None
    repeated = None if fixed is not None else follow_constant(node, index, axis, trace)
    if repeated is not None:
        # On the output's axis, as the channels are.
        joined = trace.join(channels, repeated.at(channels.axis))
        if joined is not None:
            return joined
        trace.decline(node, channels, f"where input {index} does not fit the channels")
    elif fixed is None:
        trace.decline(node, channels, "where they meet values whose channels must stay")
    elif atoms is None:
        trace.decline(node, channels, f"where input {index} does not fit the channels")
    else:
        trace.slice(node, index, axis, channels)
    return channels if atoms is None else Channels(channels.axis, atoms)
