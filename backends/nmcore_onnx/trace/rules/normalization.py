"""Normalisations: of each channel alone, where channels pass, or across them, where they stay."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule

_ACROSS = "which normalises across channels"


@rule("BatchNormalization")
def batch_norm(node: ir.Node, trace: Trace) -> None:
    """Its four parameters are sliced with the channels; Z passes."""
    channels = trace.at(node)
    if channels is None:
        return
    training = "training_mode" in node.attributes and node.attributes["training_mode"].as_int()
    if training or any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        trace.decline(node, channels, "which is in training mode")
    else:
        _parameters(node, trace, 5)


@rule("InstanceNormalization")
def instance_norm(node: ir.Node, trace: Trace) -> None:
    """Each channel of each input is normalised alone; scale and offset are sliced."""
    _parameters(node, trace, 3)


def _parameters(node: ir.Node, trace: Trace, count: int) -> None:
    """Slice the parameters at inputs 1 to ``count - 1``, with one entry a channel each."""
    channels = trace.at(node)
    _decline_parameters(node, trace)
    if channels is None:
        return
    if channels.axis != 1:
        trace.decline(node, channels, "which normalises another axis")
    elif not all(constants.is_float(value) for value in node.inputs[1:count]):
        trace.decline(node, channels, "whose parameters are not constant")
    else:
        for index in range(1, count):
            trace.slice(node, index, 0, channels)
        trace.carry(node, channels)


@rule("GroupNormalization")
def group_norm(node: ir.Node, trace: Trace) -> None:
    """Channels of a group are normalised together: a whole group stays or goes.

    Scale and offset have an entry a group up to opset 20 and one a channel since 21.
    """
    channels = trace.at(node)
    _decline_parameters(node, trace)
    if channels is None:
        return
    groups = node.attributes["num_groups"].as_int()
    length = channels.length
    if channels.axis != 1 or length is None or length % groups:
        trace.decline(node, channels, _ACROSS)
        return
    atoms = channels.expand(length)
    assert atoms is not None
    runs = atoms.reshape(groups, -1)
    trace.atoms.tie(runs)
    trace.count(node, "num_groups", runs[:, 0].copy())
    shape = constants.shape(node.inputs[1])
    per_channel = shape is not None and shape[0] == length != groups
    owners = channels if per_channel else Channels(1, runs[:, 0].copy())
    for index in (1, 2):
        trace.slice(node, index, 0, owners)
    trace.carry(node, channels)


@rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def layer_norm(node: ir.Node, trace: Trace) -> None:
    """Normalises over ``axis`` and all behind it; channels before it pass.

    Those that are normalised across stay. Where the result is a gate of other channels, as in
    gMLP, these may go, and the same ones are left out behind the norm.
    """
    _behind(node, trace, default=-1)
    channels = trace.at(node)
    if channels is None or channels.length is None or node.outputs[0] in trace.channels:
        return
    if not any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        trace.take(node, channels.axis, channels.length)


@rule("Softmax", "LogSoftmax", "Hardmax")
def softmax(node: ir.Node, trace: Trace) -> None:
    """Normalises over ``axis``; up to opset 12 over all axes behind it too."""
    opset = trace.graph.opset_imports.get("", 1)
    if opset < 13:
        _behind(node, trace, default=1)
        return
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    _over(node, trace, [axis])


@rule("MeanVarianceNormalization")
def mean_variance(node: ir.Node, trace: Trace) -> None:
    """Normalises over some axes, the batch and the positions unless it says; no parameters."""
    axes = node.attributes["axes"].as_ints() if "axes" in node.attributes else (0, 2, 3)
    _over(node, trace, axes)


@rule("LpNormalization")
def lp_norm(node: ir.Node, trace: Trace) -> None:
    """Normalises over one axis; channels on another pass."""
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    _over(node, trace, [axis])


def _over(node: ir.Node, trace: Trace, axes: Sequence[int]) -> None:
    """Channels pass unless they are normalised over."""
    channels, shape = trace.at(node), trace.shape(node.inputs[0])
    if channels is None:
        return
    if shape is None or channels.axis in {axis % len(shape) for axis in axes}:
        trace.decline(node, channels, _ACROSS)
    else:
        trace.carry(node, channels)


def _behind(node: ir.Node, trace: Trace, default: int) -> None:
    channels, shape = trace.at(node), trace.shape(node.inputs[0])
    _decline_parameters(node, trace)
    if channels is None:
        return
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else default
    if shape is None or channels.axis >= axis % len(shape):
        trace.decline(node, channels, _ACROSS)
    elif any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        trace.decline(node, channels, "whose statistics are used")
    elif any(
        len(constants.shape(value) or ()) > len(shape) - axis % len(shape)
        for value in node.inputs[1:]
    ):
        trace.decline(node, channels, "whose parameters differ between channels")
    else:
        trace.carry(node, channels)


def _decline_parameters(node: ir.Node, trace: Trace) -> None:
    """Channels that arrive as scale or offset stay: the norm's own channels set their number."""
    for index in range(1, len(node.inputs)):
        found = trace.at(node, index)
        if found is not None:
            trace.decline(node, found, "as its parameters")
