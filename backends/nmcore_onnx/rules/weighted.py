"""Operators with weights: their columns read channels, their rows make new ones."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from nmcore_onnx import constants
from nmcore_onnx.channels import Channels
from nmcore_onnx.constants import Place
from nmcore_onnx.rules.registry import decline_inputs, rule
from nmcore_onnx.trace import Trace
from nmcore_onnx.weights import attribute


@rule("Conv")
def conv(node: ir.Node, trace: Trace) -> None:
    """Weight (O, C / groups, *kernel): columns on axis 1, rows on axis 0; channels on axis 1."""
    if not _constant_weight(node, trace) or not _constant_bias(node, trace):
        return
    groups = node.attributes["group"].as_int() if "group" in node.attributes else 1
    if groups != 1:
        _grouped(node, trace, groups)
        return
    _consume(node, trace, data_axis=1, columns=1, rows=0)
    made = trace.produce(node, Place(node, 1), rows=0, columns=1, axis=1)
    if Place(node, 2).value is not None:
        trace.slice(node, 2, 0, made)


def _grouped(node: ir.Node, trace: Trace, groups: int) -> None:
    """A depthwise convolution filters each channel alone, so channels pass it."""
    channels = trace.at(node)
    shape = constants.shape(node.inputs[1])
    if channels is None:
        trace.leave(node, "a grouped convolution whose input channels must stay")
        return
    if shape is None or shape[1] != 1 or channels.axis != 1 or len(channels.atoms) != groups:
        trace.decline(node, channels, "a grouped convolution: not supported yet")
        trace.leave(node, "a grouped convolution that is not depthwise: not supported yet")
        return
    # Each channel owns as many neighbouring outputs as the convolution has filters for it.
    made = Channels(1, np.repeat(channels.atoms, shape[0] // groups))
    trace.filter(node, channels, made)
    trace.slice(node, 1, 0, made)
    if Place(node, 2).value is not None:
        trace.slice(node, 2, 0, made)
    trace.carry(node, made)


@rule("Gemm")
def gemm(node: ir.Node, trace: Trace) -> None:
    """Alpha A' B' + beta C: B' has columns on its first axis and rows on its last."""
    if not _constant_weight(node, trace) or not _constant_bias(node, trace):
        return
    bias = constants.shape(Place(node, 2).value) or ()
    if attribute(node, "alpha") == 0 or attribute(node, "beta") == 0 or math.prod(bias[:-1]) > 1:
        decline_inputs(node, trace, "whose bias differs between inputs or is switched off")
        trace.leave(node, "its bias differs between inputs, or it is switched off")
        return
    flipped = _flag(node, "transB")
    rows, columns = (0, 1) if flipped else (1, 0)
    _consume(node, trace, data_axis=0 if _flag(node, "transA") else 1, columns=columns, rows=rows)
    made = trace.produce(node, Place(node, 1), rows=rows, columns=columns, axis=1)
    if bias and bias[-1] == len(made.atoms):
        trace.slice(node, 2, len(bias) - 1, made)


@rule("MatMul")
def matmul(node: ir.Node, trace: Trace) -> None:
    """A B with a constant B (K, N): columns on axis 0, rows on axis 1; channels on A's last."""
    if constants.tensor(node.inputs[0]) is None and constants.tensor(node.inputs[1]) is None:
        decline_inputs(node, trace, "a product of two computed values")
        return
    if not _constant_weight(node, trace):
        return
    shape = trace.shape(node.inputs[0])
    if len(constants.shape(node.inputs[1]) or ()) != 2 or shape is None or len(shape) < 2:
        decline_inputs(node, trace, "whose weight is not a plain matrix")
        trace.leave(node, "its weight is not a plain matrix, or its input's rank is unknown")
        return
    _consume(node, trace, data_axis=len(shape) - 1, columns=0, rows=1)
    trace.produce(node, Place(node, 1), rows=1, columns=0, axis=len(shape) - 1)


def _consume(node: ir.Node, trace: Trace, data_axis: int, columns: int, rows: int) -> None:
    channels = trace.at(node)
    if channels is None:
        return
    if channels.axis != data_axis:
        trace.decline(node, channels, "which reads them along another axis")
        return
    trace.consume(node, 1, columns, rows, channels)


def _constant_weight(node: ir.Node, trace: Trace) -> bool:
    """Whether input 1 is a floating-point constant; says so where it is not."""
    if constants.is_float(node.inputs[1]):
        return True
    maker = node.inputs[1].producer() if node.inputs[1] is not None else None
    if maker is not None and maker.op_type == "DequantizeLinear":
        reason = "its weight is quantised: compress the model before quantising it"
    else:
        reason = "its weight is computed while the model runs"
    decline_inputs(node, trace, f"but {reason}")
    trace.leave(node, reason)
    return False


def _constant_bias(node: ir.Node, trace: Trace) -> bool:
    """Whether input 2 is absent or a floating-point constant; says so where it is not."""
    value = Place(node, 2).value
    if value is None or constants.is_float(value):
        return True
    decline_inputs(node, trace, "but its bias is no floating-point constant")
    trace.leave(node, "its bias is no floating-point constant")
    return False


def _flag(node: ir.Node, name: str) -> bool:
    return name in node.attributes and node.attributes[name].as_int() != 0
