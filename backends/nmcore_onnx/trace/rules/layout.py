"""Operators that move axes or stretch them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir.constant_folding import fold
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import label
from nmcore_onnx.shapes import shape_values
from nmcore_onnx.trace.axes import axis_behind, squeezed_axes
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rule_registry import rule
from nmcore_onnx.trace.target_sizes import follow_size, others_ignore


@rule("Transpose")
def transpose(node: ir.Node, trace: Trace) -> None:
    """The channel axis moves with the permutation."""
    channels = trace.at(node)
    if channels is None:
        return
    shape = trace.shape(node.inputs[0])
    if "perm" in node.attributes:
        order = list(node.attributes["perm"].as_ints())
    elif shape is not None:
        order = list(range(len(shape)))[::-1]
    else:
        trace.decline(node, channels, "where the rank is unknown")
        return
    if channels.axis in order:
        trace.carry(node, channels.at(order.index(channels.axis)))
    else:
        trace.decline(node, channels, f"which moves {len(order)} axes, and theirs is another")


@rule("Squeeze", "Unsqueeze")
def squeeze(node: ir.Node, trace: Trace) -> None:
    """Axes of length one come and go."""
    channels = trace.at(node)
    if channels is None:
        return
    axes = squeezed_axes(node, trace)
    if axes is None:
        trace.decline(node, channels, "whose axes are not constant")
    elif (moved := axis_behind(node, channels.axis, axes)) is None:
        trace.decline(node, channels, "which drops their axis")
    else:
        trace.carry(node, channels.at(moved))


@rule("Shape")
def shape_of(node: ir.Node, trace: Trace) -> None:
    """Sizes of other axes may be used freely; the number of channels only where it is a target
    size of the same channels, which is known only once the reader has been visited.
    """
    channels = trace.at(node)
    if channels is None:
        return
    if trace.shape(node.inputs[0]) is None:
        trace.decline(node, channels, "where the rank is unknown")
        return
    ends = list(shape_values.readers(node, channels.axis, trace.shapes))
    if node.outputs[0].is_graph_output():
        trace.decline(node, channels, "which is a model's output")

    def check() -> None:
        # A reader that follows channels has made sure that its sizes shrink with them.
        for reader, index, computed in ends:
            follows = (reader.op_type, index) in shape_values.TARGETS and (
                reader.outputs[0] in trace.channels
            )
            if (reader, index) not in trace.settled and (computed or not follows):
                what = f"{reader.op_type} {label(reader)!r}"
                trace.decline(node, channels, f"which counts them for {what}")

    trace.later(check)


@rule("Size")
def size_of(node: ir.Node, trace: Trace) -> None:
    """The number of elements would change."""
    trace.decline_inputs(node, "which counts them")


@rule("Expand")
def expand(node: ir.Node, trace: Trace) -> None:
    """Axes of length one are repeated; the channel axis stays as it is."""
    channels, shape = trace.at(node), trace.shape(node.inputs[0])
    target = shape_values.entries(Place(node, 1), trace.shapes)
    if channels is None:
        trace.decline_inputs(node, "which takes them as a shape")
        return
    if shape is None or target is None:
        trace.decline(node, channels, "whose target shape is not understood")
        return
    rank = max(len(shape), len(target))
    moved = channels.at(channels.axis + rank - len(shape))
    index = moved.axis - (rank - len(target))
    free = index < 0 or target[index].number == 1
    if channels.length == 1 and not free:
        trace.decline(node, channels, "which repeats them")
    elif others_ignore(target, index, trace) and (
        free or follow_size(node, trace, target, index, moved)
    ):
        trace.settle(node, 1, target)
        trace.carry(node, moved)
    else:
        trace.decline(node, channels, "whose target shape does not fit them")


@rule("Tile")
def tile(node: ir.Node, trace: Trace) -> None:
    """Whole axes are repeated; channels stay where their own is not."""
    channels = trace.at(node)
    if channels is None:
        return
    repeats = fold(Place(node, 1).value)
    if repeats is None or channels.axis >= repeats.size or repeats.ravel()[channels.axis] != 1:
        trace.decline(node, channels, "which repeats them")
    else:
        trace.carry(node, channels)


@rule("Resize", "Upsample")
def resize(node: ir.Node, trace: Trace) -> None:
    """Interpolates along other axes than the channels' own.

    1. Scales, an attribute or an input: 1 for channels.
    2. Sizes of all axes: that of the channels shrinks with them.
    3. Scales or sizes of some axes, without the channels' own.
    """
    channels = trace.at(node)
    if channels is None:
        return
    if _keeps_channels(node, trace, channels):
        trace.carry(node, channels)
    else:
        trace.decline(node, channels, "which resizes them, or whose sizes are not understood")


def _keeps_channels(node: ir.Node, trace: Trace, channels: Channels) -> bool:
    axis, scales = channels.axis, _scales(node)
    target = None if scales is not None else shape_values.entries(Place(node, 3), trace.shapes)
    if "axes" in node.attributes:
        shape = trace.shape(node.inputs[0])
        chosen = [a % len(shape) for a in node.attributes["axes"].as_ints()] if shape else [axis]
        return axis not in chosen and (target is None or others_ignore(target, -1, trace))
    if scales is not None:
        return axis < len(scales) and scales[axis] == 1
    policy = node.attributes.get("keep_aspect_ratio_policy")
    if policy is not None and policy.as_string() != "stretch":
        return False
    if target is None or not follow_size(node, trace, target, axis, channels):
        return False
    trace.settle(node, 3, target)
    return True


def _scales(node: ir.Node) -> list[float] | None:
    if "scales" in node.attributes:
        return list(node.attributes["scales"].as_floats())
    old = node.op_type == "Upsample" or len(node.inputs) == 2
    found = fold(Place(node, 1 if old else 2).value)
    return None if found is None or not found.size else [float(scale) for scale in found.ravel()]


@rule("DepthToSpace")
def depth_to_space(node: ir.Node, trace: Trace) -> None:
    """Pixel shuffle: blocks of channels become one channel of a larger picture.

    Neighbours belong together in mode CRD, every (C / r^2)-th channel in mode DCR.
    """
    channels = trace.at(node)
    if channels is None:
        return
    block = node.attributes["blocksize"].as_int() ** 2
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "DCR"
    atoms = None if channels.length is None else channels.expand(channels.length)
    if atoms is None or channels.axis != 1 or len(atoms) % block:
        trace.decline(node, channels, "which does not fit them")
        return
    runs = atoms.reshape(-1, block) if mode == "CRD" else atoms.reshape(block, -1).T
    trace.atoms.tie(runs)
    trace.carry(node, Channels(1, runs[:, 0].copy()))


@rule("SpaceToDepth")
def space_to_depth(node: ir.Node, trace: Trace) -> None:
    """Each channel becomes a whole sequence of channels, one for each pixel of a block."""
    channels = trace.at(node)
    if channels is None:
        return
    block = node.attributes["blocksize"].as_int() ** 2
    atoms = None if channels.length is None else channels.expand(channels.length)
    if atoms is None or channels.axis != 1:
        trace.decline(node, channels, "which does not fit them")
    else:
        trace.carry(node, Channels(1, np.tile(atoms, block)))
