"""Target shapes, as of Reshape and Expand, that count channels and shrink with them."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from nmcore_onnx.shapes import shape_values
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace


def follow_size(
    node: ir.Node, trace: Trace, target: list[shape_values.Entry], index: int, channels: Channels
) -> bool:
    """Let entry ``index`` of a target shape shrink with channels; False where it cannot.

    No other entry may be the length of a channel axis, as that would shrink too.
    """
    if index >= len(target) or not others_ignore(target, index, trace):
        return False
    entry = target[index]
    if entry.dim is not None:
        return _follow_length(node, trace, entry, channels)
    if entry.product is not None:
        # What stands beside the channels is as long as the other factor says.
        _, entry = entry.product
        channels = replace(channels, outer=1)
    if entry.number is None or entry.number < 1:
        return False
    atoms = channels.expand(entry.number)
    # One constant that stands in two places of the target cannot be changed in one of them.
    twins = [
        each for each in target if (each.place, each.position) == (entry.place, entry.position)
    ]
    if atoms is None or entry.place is None or len(twins) > 1:
        return False
    trace.resize(node, entry, atoms)
    return True


def _follow_length(
    node: ir.Node, trace: Trace, entry: shape_values.Entry, channels: Channels
) -> bool:
    """Let an entry that is another value's length be that of the channels.

    It is where the other has the same channels. A static length may also be written as a constant,
    as where heads become as wide again as the stream they came from.
    """
    assert entry.dim is not None
    value, axis = entry.dim
    other = trace.channels.get(value)
    if other is not None and other.axis == axis and trace.same(other, channels):
        return True
    if entry.static is None:
        return False
    place, found = entry.static
    atoms = channels.expand(int(found.reshape(-1)[0]))
    if atoms is None:
        return False
    trace.count(node, place, atoms, 0, entry.path, found)
    return True


def others_ignore(target: list[shape_values.Entry], index: int, trace: Trace) -> bool:
    """Whether no entry but ``index`` is the length of a channel axis."""
    for position, entry in enumerate(target):
        length = entry if entry.product is None else entry.product[0]
        if length.dim is None or (position == index and entry.product is None):
            continue
        found = trace.channels.get(length.dim[0])
        if found is not None and found.axis == length.dim[1]:
            return False
    return True
