"""Operators with weights: their columns read channels, their rows make new ones."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constant_folding import is_constant
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import attribute
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule


@rule("Conv")
def conv(node: ir.Node, trace: Trace) -> None:
    """Weight (O, C / groups, *kernel): columns on axis 1, rows on axis 0; channels on axis 1."""
    if not _constant_weight(node, trace, rank=3) or not _constant_bias(node, trace):
        return
    groups = _groups(node)
    if groups != 1:
        _grouped(node, trace, groups)
        return
    _consume(node, trace, data_axis=1, columns=1, rows=0)
    made = trace.produce(node, Place(node, 1), rows=0, columns=1, axis=1)
    _slice_bias(node, trace, made)


@rule("ConvTranspose")
def conv_transpose(node: ir.Node, trace: Trace) -> None:
    """Weight (C, O / groups, *kernel): columns on axis 0, rows on axis 1; channels on axis 1."""
    if not _constant_weight(node, trace, rank=3) or not _constant_bias(node, trace):
        return
    groups = _groups(node)
    channels, shape = trace.at(node), constants.shape(node.inputs[1])
    if groups == 1:
        _consume(node, trace, data_axis=1, columns=0, rows=1)
        made = trace.produce(node, Place(node, 1), rows=1, columns=0, axis=1)
        _slice_bias(node, trace, made)
    elif channels is None:
        trace.leave(node, "a grouped transposed convolution whose input channels must stay")
    elif shape is None or shape[0] != groups or channels.owners() is None or channels.axis != 1:
        _leave_grouped(node, trace, channels, "a grouped transposed convolution")
    else:
        atoms = channels.expand(shape[0])
        assert atoms is not None
        _pass_filters(node, trace, Channels(1, atoms), shape[1])


def _groups(node: ir.Node) -> int:
    return node.attributes["group"].as_int() if "group" in node.attributes else 1


def _grouped(node: ir.Node, trace: Trace, groups: int) -> None:
    """A convolution in groups, each with its own run of channels.

    1. One channel a group (depthwise): channels pass.
    2. At least as many groups as channels in each: a whole group goes, with all it reads and makes.
    3. Few wide groups: each loses the channels at the same places, so that all stay equally wide.
    """
    channels, shape = trace.at(node), constants.shape(node.inputs[1])
    if channels is None:
        trace.leave(node, "a grouped convolution whose input channels must stay")
        return
    atoms = channels.owners()
    if shape is None or atoms is None or channels.axis != 1 or len(atoms) != shape[1] * groups:
        _leave_grouped(node, trace, channels, "a grouped convolution")
        return
    runs = atoms.reshape(groups, shape[1])
    if shape[1] <= groups:
        trace.atoms.tie(runs)
        _pass_filters(node, trace, Channels(1, runs[:, 0].copy()), shape[0] // groups)
        return
    trace.atoms.tie(runs.T)
    trace.consume_grouped(node, Channels(1, atoms), groups)
    made = trace.produce(node, Place(node, 1), rows=0, columns=1, axis=1)
    trace.atoms.tie(made.atoms.reshape(groups, -1).T)
    _slice_bias(node, trace, made)


def _leave_grouped(node: ir.Node, trace: Trace, channels: Channels, what: str) -> None:
    trace.decline(node, channels, f"{what} that does not fit them")
    trace.leave(node, f"{what} whose input channels are not understood")


def _pass_filters(node: ir.Node, trace: Trace, groups: Channels, filters: int) -> None:
    """Each group owns as many neighbouring outputs as the convolution has filters for it."""
    transposed = node.op_type == "ConvTranspose"
    made = Channels(1, groups.atoms if transposed else np.repeat(groups.atoms, filters))
    trace.filter(node, groups.atoms, made.atoms)
    trace.slice(node, 1, 0, made)
    out = Channels(1, np.repeat(groups.atoms, filters))
    _slice_bias(node, trace, out)
    trace.carry(node, out)


def _slice_bias(node: ir.Node, trace: Trace, made: Channels) -> None:
    if Place(node, 2).value is not None:
        trace.slice(node, 2, 0, made)


@rule("Gemm")
def gemm(node: ir.Node, trace: Trace) -> None:
    """Alpha A' B' + beta C: B' has columns on its first axis and rows on its last."""
    if not _constant_weight(node, trace, rank=2) or not _constant_bias(node, trace):
        return
    bias = constants.shape(Place(node, 2).value) or ()
    if attribute(node, "alpha") == 0 or attribute(node, "beta") == 0 or math.prod(bias[:-1]) > 1:
        trace.decline_inputs(node, "whose bias differs between inputs or is switched off")
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
    if not any(is_constant(value) for value in node.inputs):
        _product(node, trace)
        return
    if not _constant_weight(node, trace, rank=1):
        return
    shape = trace.shape(node.inputs[0])
    if len(constants.shape(node.inputs[1]) or ()) != 2 or shape is None or len(shape) < 2:
        trace.decline_inputs(node, "whose weight is not a plain matrix")
        trace.leave(node, "its weight is not a plain matrix, or its input's rank is unknown")
        return
    _consume(node, trace, data_axis=len(shape) - 1, columns=0, rows=1)
    trace.produce(node, Place(node, 1), rows=1, columns=0, axis=len(shape) - 1)


def _product(node: ir.Node, trace: Trace) -> None:
    """A product of two computed values, such as attention's scores: heads are a batch axis.

    Channels pass on a batch axis that both have, on the rows of the first factor and on the columns
    of the second. Where the product sums over them nothing could make up for one that is gone.
    """
    shapes = [trace.shape(value) for value in node.inputs]
    left, right = trace.at(node, 0), trace.at(node, 1)
    if left is None and right is None:
        return
    if shapes[0] is None or shapes[1] is None or min(map(len, shapes)) < 2:  # type: ignore[arg-type]
        trace.decline_inputs(node, "a product of values whose rank is unknown")
        return
    ranks = [len(shape) for shape in shapes if shape is not None]
    # Axes counted from the end, as both factors are aligned there.
    ends = [
        None if found is None else found.axis - rank
        for found, rank in zip((left, right), ranks, strict=True)
    ]
    out = _follow_product(trace, (left, right), ends, shapes, max(ranks))
    if out is None:
        trace.decline_inputs(node, "a product of two computed values that sums over them")
    else:
        trace.carry(node, out)


def _follow_product(
    trace: Trace,
    factors: tuple[Channels | None, Channels | None],
    ends: list[int | None],
    shapes: list[tuple[int | str, ...] | None],
    rank: int,
) -> Channels | None:
    left, right = factors
    first, second = ends
    if left is not None and right is not None:
        assert first is not None
        assert second is not None
        if first != second or first > -3:
            return None
        return trace.join(left.at(first + rank), right.at(second + rank))
    channels, end = (left, first) if left is not None else (right, second)
    assert channels is not None
    assert end is not None
    if end == (-2 if left is not None else -1):
        return channels.at(end + rank)
    other = shapes[1 if left is not None else 0]
    assert other is not None
    alone = end <= -3 and (-end > len(other) or other[end] == 1)
    return channels.at(end + rank) if alone else None


def _consume(node: ir.Node, trace: Trace, data_axis: int, columns: int, rows: int) -> None:
    channels = trace.at(node)
    if channels is None:
        return
    if channels.axis != data_axis:
        trace.decline(node, channels, "which reads them along another axis")
        return
    trace.consume(node, 1, columns, rows, channels)


def _constant_weight(node: ir.Node, trace: Trace, rank: int) -> bool:
    """Whether input 1 is a floating-point constant of enough axes; says so where it is not."""
    axes = len(constants.shape(node.inputs[1]) or ())
    if constants.is_float(node.inputs[1]) and axes >= rank:
        return True
    maker = node.inputs[1].producer() if node.inputs[1] is not None else None
    if constants.is_float(node.inputs[1]):
        reason = f"its weight has {axes} axes, and at least {rank} are needed"
    elif maker is not None and maker.op_type == "DequantizeLinear":
        reason = "its weight is quantised: compress the model before quantising it"
    else:
        reason = "its weight is computed while the model runs"
    trace.decline_inputs(node, f"but {reason}")
    trace.leave(node, reason)
    return False


def _constant_bias(node: ir.Node, trace: Trace) -> bool:
    """Whether input 2 is absent or a floating-point constant; says so where it is not."""
    value = Place(node, 2).value
    if value is None or constants.is_float(value):
        return True
    trace.decline_inputs(node, "but its bias is no floating-point constant")
    trace.leave(node, "its bias is no floating-point constant")
    return False


def _flag(node: ir.Node, name: str) -> bool:
    return name in node.attributes and node.attributes[name].as_int() != 0
