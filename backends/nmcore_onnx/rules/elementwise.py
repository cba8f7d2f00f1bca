"""Operators that work on every element alone; NumPy's broadcasting aligns several inputs."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from nmcore_onnx import constants
from nmcore_onnx.channels import Channels
from nmcore_onnx.rules.registry import decline_inputs, rule
from nmcore_onnx.trace import Trace


@rule(
    *["Relu", "LeakyRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Tanh", "Softsign"],
    *["Softplus", "Sigmoid", "HardSigmoid", "HardSwish", "Mish", "Gelu", "Swish", "Erf"],
    *["Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Sign", "Floor", "Ceil", "Round"],
    *["Sin", "Cos", "Identity"],
)
@rule("Gelu", "QuickGelu", "FastGelu", domain="com.microsoft")
def unary(node: ir.Node, trace: Trace) -> None:
    """One input, the same function on every element."""
    if len(node.inputs) > 1:
        # com.microsoft's FastGelu takes a bias as a second input.
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
    """Between floating-point types only: integers would mean that channels are counted."""
    channels = trace.at(node)
    if channels is None:
        decline_inputs(node, trace, "which takes its type from them")
        return
    if (
        node.op_type == "Cast"
        and not ir.DataType(node.attributes["to"].as_int()).is_floating_point()
    ):
        trace.decline(node, channels, "which makes them integers")
        return
    trace.carry(node, channels)


@rule("Clip", "Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Min", "Max", "Sum", "Mean")
def broadcast(node: ir.Node, trace: Trace) -> None:
    """Several inputs: constants are sliced along the aligned axis, equal channels go on."""
    ranks = _ranks(node, trace)
    if not any(trace.at(node, index) for index in range(len(node.inputs))):
        return
    if ranks is None:
        decline_inputs(node, trace, "where an input's rank is unknown")
        return
    rank = max(ranks)
    merged = _common(node, trace, ranks)
    if merged is None:
        return
    for index, value in enumerate(node.inputs):
        if value is None or trace.at(node, index) is not None:
            continue
        axis = merged.axis - (rank - ranks[index])
        if axis < 0:
            continue
        resolved = _other_input(node, trace, index, axis, merged)
        if resolved is None:
            return
        merged = resolved
    trace.carry(node, merged)


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


def _common(node: ir.Node, trace: Trace, ranks: list[int]) -> Channels | None:
    """The one sequence of channels that all traced inputs carry, on the output's axis."""
    rank = max(ranks)
    merged: Channels | None = None
    for index in range(len(node.inputs)):
        channels = trace.at(node, index)
        if channels is None:
            continue
        channels = channels.at(channels.axis + rank - ranks[index])
        if merged is None:
            merged = channels
        elif merged.axis != channels.axis or not merged.same_as(channels):
            what = "a residual sum" if node.op_type in ("Add", "Sum") else "where they meet others"
            decline_inputs(node, trace, f"{what}: coupled channels are not supported yet")
            return None
    return merged


def _other_input(
    node: ir.Node, trace: Trace, index: int, axis: int, channels: Channels
) -> Channels | None:
    """Align an input without channels; None where the channels had to be declined."""
    value = node.inputs[index]
    fixed = constants.shape(value)
    shape = fixed if fixed is not None else trace.shape(value)
    size = shape[axis] if shape is not None else None
    if size == 1 and not _is_single_channel(channels):
        return channels
    if fixed is None:
        decline_inputs(node, trace, "where they meet values whose channels must stay")
        return None
    atoms = channels.expand(fixed[axis])
    if atoms is None:
        decline_inputs(node, trace, f"where input {index} does not fit the channels")
        return None
    trace.slice(node, index, axis, channels)
    return replace(channels, atoms=atoms, outer=1, inner=1)


def _is_single_channel(channels: Channels) -> bool:
    """One channel cannot be told from a broadcast axis; it cannot be removed either."""
    return len(channels.atoms) == 1 and channels.outer == channels.inner == 1
