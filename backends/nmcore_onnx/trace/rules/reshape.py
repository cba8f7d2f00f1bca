"""Reshape and Flatten: axes become one, or a channel axis becomes several."""

from __future__ import annotations

import math
from dataclasses import replace

import onnx_ir as ir

from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.types import Dim
from nmcore_onnx.shapes import shape_values
from nmcore_onnx.shapes.reshape_axes import Segment, match
from nmcore_onnx.trace.axes import axis_behind, is_reduced_over, squeezed_axes, times
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.recurrent.initial_states import begins_layers
from nmcore_onnx.trace.rule_registry import rule
from nmcore_onnx.trace.target_sizes import follow_size, others_ignore


@rule("Flatten")
def flatten(node: ir.Node, trace: Trace) -> None:
    """All axes from ``axis`` on become one; a channel then owns neighbouring positions."""
    channels = trace.at(node)
    if channels is None:
        return
    shape = trace.shape(node.inputs[0])
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    if shape is None:
        trace.decline(node, channels, "where the rank is unknown")
        return
    axis = axis + len(shape) if axis < 0 else axis
    if channels.axis < axis:
        trace.decline(node, channels, "which joins them with the batch")
        return
    segment = Segment(tuple(range(axis, len(shape))), (1,))
    trace.carry(node, _merged(channels, segment, shape))


@rule("Reshape")
def reshape(node: ir.Node, trace: Trace) -> None:
    """Channels go on where their axis stays whole, is flattened with others, or is split.

    Where it is split, as into attention heads, one of the new axes stands for it: what lies along
    the others is kept or removed as a block.
    """
    channels = trace.at(node)
    if channels is None:
        trace.decline_inputs(node, "which takes them as a shape")
        return
    shape = trace.shape(node.inputs[0])
    target = (
        None if "shape" in node.attributes else shape_values.entries(Place(node, 1), trace.shapes)
    )
    if shape is None or target is None:
        trace.decline(node, channels, "whose target shape is computed in a way not understood")
        return
    after = _sizes(node, trace, target, shape)
    segment = match(shape, after, channels.axis)
    regrouped = (
        None if segment is None else _regrouped(node, trace, channels, segment, shape, after)
    )
    if regrouped is None:
        trace.decline(node, channels, "which mixes them with other axes")
    elif _target_follows(node, trace, target, channels, regrouped):
        trace.settle(node, 1, target)
        trace.carry(node, regrouped)
    else:
        trace.decline(node, channels, "whose target shape does not follow them")


def _sizes(
    node: ir.Node, trace: Trace, target: list[shape_values.Entry], shape: tuple[Dim, ...]
) -> list[Dim]:
    """The target as sizes; -1 where it is whatever is left and not known."""
    known = trace.shape(node.outputs[0])
    if known is not None and len(known) != len(target):  # a model's output may be declared wrongly
        known = None
    found = []
    for index, entry in enumerate(target):
        size = _size(entry, index, shape, trace)
        if size == -1 and known is not None and isinstance(known[index], int):
            size = known[index]
        found.append(size)
    return found


def _size(entry: shape_values.Entry, index: int, shape: tuple[Dim, ...], trace: Trace) -> Dim:
    if entry.number == 0 and index < len(shape):
        return shape[index]
    if entry.number is not None:
        return entry.number
    if entry.dim is not None:
        value, axis = entry.dim
        found = trace.shape(value)
        return found[axis] if found is not None else -1
    return -1


def _regrouped(
    node: ir.Node,
    trace: Trace,
    channels: Channels,
    segment: Segment,
    shape: tuple[Dim, ...],
    after: list[Dim],
) -> Channels | None:
    """The channels after a Reshape; None where no axis stands for them.

    1. All axes of the segment become one.
    2. The channel axis becomes several: heads, parts, or the groups of a shuffle.
    3. The channel axis comes first and others behind it are mixed in: the groups of a group norm,
       or the way back from there.
    4. The channel axis comes last and its blocks join the axes before it, as heads join the batch;
       or what has joined them comes off again.
    """
    if len(segment.outs) == 1:
        return _merged(channels, segment, shape)
    lengths = [after[out] for out in segment.outs]
    if segment.ins[0] == channels.axis and channels.outer != 1:
        inner = times(channels.inner, [shape[axis] for axis in segment.ins[1:]])
        if inner is not None and lengths[-1] == len(channels.atoms) * inner:
            return replace(channels, axis=segment.outs[-1], outer=1, inner=inner)
    # Axes of length one behind the channels, as pooling leaves them, count for nothing.
    if segment.ins[0] == channels.axis and all(shape[axis] == 1 for axis in segment.ins[1:]):
        return _split(node, trace, channels, segment.outs, lengths)
    if segment.ins[-1] == channels.axis and len(segment.outs) == 2:
        return _joined_blocks(trace, channels, segment, shape, lengths[-1])
    if segment.ins[0] != channels.axis:
        return None
    first, length = lengths[0], channels.length
    if not isinstance(first, int) or first < 1 or length is None:
        return None
    if length % first == 0:
        atoms = channels.expand(length)
        assert atoms is not None
        runs = atoms.reshape(first, -1)
        trace.atoms.tie(runs)
        return Channels(segment.outs[0], runs[:, 0].copy())
    if first % length == 0:
        return replace(
            channels, axis=segment.outs[0], inner=times(channels.inner, [first // length])
        )
    return None


def _joined_blocks(
    trace: Trace, channels: Channels, segment: Segment, shape: tuple[Dim, ...], block: Dim
) -> Channels | None:
    """Blocks of ``block`` channels stand, one after the other, behind what the axes before hold."""
    length = channels.length
    atoms = None if length is None else channels.expand(length)
    if atoms is None or not isinstance(block, int) or block < 1 or len(atoms) % block:
        return None
    blocks = atoms.reshape(-1, block)
    trace.atoms.tie(blocks)
    outer = times(1, [shape[axis] for axis in segment.ins[:-1]])
    return Channels(segment.outs[0], blocks[:, 0].copy(), outer=outer)


def _split(
    node: ir.Node, trace: Trace, channels: Channels, outs: tuple[int, ...], lengths: list[Dim]
) -> Channels | None:
    """One of the new axes stands for the channels; what lies along the others becomes a block."""
    atoms = None if channels.length is None else channels.expand(channels.length)
    known = [length for length in lengths if isinstance(length, int) and length > 0]
    if atoms is None or len(known) < len(lengths) - 1 or len(atoms) % math.prod(known):
        return None
    # One length may be whatever is left.
    rest = len(atoms) // math.prod(known)
    if len(known) == len(lengths) and rest != 1:  # a model whose shapes contradict each other
        return None
    known = [length if length in known else rest for length in lengths]
    owners = trace.atoms.roots(atoms)
    blocks = [
        owners.reshape(known).swapaxes(0, axis).reshape(length, -1)
        for axis, length in enumerate(known)
    ]
    # Where the blocks along an axis are the same channels already, it stands without tying any.
    free = [k for k, block in enumerate(blocks) if len(block) > 1 and (block == block[:, :1]).all()]
    chosen = free[0] if len(free) == 1 else _standing_axis(node, trace, known, outs)
    trace.atoms.tie(blocks[chosen])
    return Channels(outs[chosen], blocks[chosen][:, 0].copy())


def _standing_axis(node: ir.Node, trace: Trace, lengths: list[int], outs: tuple[int, ...]) -> int:
    """Which axis of a split stands for the channels.

    In a shuffle (Reshape, Transpose, Reshape) the longest; of what recurrent layers begin with the
    last, that of the units, which both directions have alike; else the first, which is that of the
    attention heads, unless it only tells query, key and value apart. Axes of length one do not
    count. Along an axis that is normalised over, nothing may go; along one that is summed over,
    what is gone must be made up for: a longer one stands instead, as in split attention (ResNeSt),
    which weighs parts of equal channels.
    """
    if _is_shuffle(node, outs):
        return lengths.index(max(lengths))
    if begins_layers(node.outputs[0]):
        return len(lengths) - 1
    longer = [k for k, length in enumerate(lengths) if length > 1] or [0]
    apart = len(lengths) > 2 or _is_taken_apart(node, trace, outs[0])
    first = longer[1] if 1 < lengths[0] <= 3 and apart and len(longer) > 1 else longer[0]
    made = node.outputs[0]
    if not is_reduced_over(made, trace, outs[first]):
        return first
    others = [k for k in longer if not is_reduced_over(made, trace, outs[k])]
    if not is_reduced_over(made, trace, outs[first], sums=False):
        others.insert(0, first)
    return max(others, key=lambda k: lengths[k], default=first)


def _is_taken_apart(node: ir.Node, trace: Trace, axis: int) -> bool:
    """Whether all that reads a value takes single positions of one of its axes."""
    readers = [use.node for use in node.outputs[0].uses()]
    return bool(readers) and all(_takes_apart(reader, trace, axis) for reader in readers)


def _takes_apart(node: ir.Node, trace: Trace, axis: int) -> bool:
    if node.op_type == "Gather":
        return (node.attributes["axis"].as_int() if "axis" in node.attributes else 0) == axis
    if node.op_type == "Transpose" and "perm" in node.attributes:
        order = list(node.attributes["perm"].as_ints())
        return axis in order and _is_taken_apart(node, trace, order.index(axis))
    axes = squeezed_axes(node, trace) if node.op_type in ("Squeeze", "Unsqueeze") else None
    behind = None if axes is None else axis_behind(node, axis, axes)
    return behind is not None and _is_taken_apart(node, trace, behind)


def _is_shuffle(node: ir.Node, outs: tuple[int, ...]) -> bool:
    """Whether the new axes ``outs`` change places before another Reshape.

    Heads are flattened with the batch in the same way, but keep their place before what they hold.
    """
    readers = [use.node for use in node.outputs[0].uses()]
    if [reader.op_type for reader in readers] != ["Transpose"]:
        return False
    given = readers[0].attributes.get("perm")
    if given is not None and [axis for axis in given.as_ints() if axis in outs] == sorted(outs):
        return False
    return [use.node.op_type for use in readers[0].outputs[0].uses()] == ["Reshape"]


def _merged(channels: Channels, segment: Segment, shape: tuple[Dim, ...]) -> Channels:
    """The channels after the axes of ``segment`` became one."""
    (out,) = segment.outs
    before = [shape[axis] for axis in segment.ins if axis < channels.axis]
    behind = [shape[axis] for axis in segment.ins if axis > channels.axis]
    return replace(
        channels,
        axis=out,
        outer=times(channels.outer, before),
        inner=times(channels.inner, behind),
    )


def _target_follows(
    node: ir.Node, trace: Trace, target: list[shape_values.Entry], before: Channels, after: Channels
) -> bool:
    """Whether the target shape shrinks with the channels and nothing else of it does.

    A 0 copies the size of the input's axis of the same number, a -1 takes what is left.
    """
    for index, entry in enumerate(target):
        if entry.number == 0 and (index == before.axis) != (index == after.axis):
            return False
    entry = target[after.axis]
    if entry.number in (0, -1):
        return others_ignore(target, after.axis, trace)
    return follow_size(node, trace, target, after.axis, after)
