"""Operators that put channels side by side or take some of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constant_folding import fold, folded_shape, static, static_entries
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.repeated_constants import follow_constant
from nmcore_onnx.trace.rule_registry import rule


@rule("Concat")
def concat(node: ir.Node, trace: Trace) -> None:
    """Along the channel axis: one after the other; along another: the same channels everywhere."""
    found = [trace.at(node, index) for index in range(len(node.inputs))]
    first = next((channels for channels in found if channels is not None), None)
    shape = trace.shape(node.outputs[0])
    if first is None:
        return
    if shape is None:
        trace.decline_inputs(node, "a concatenation where the rank is unknown")
        return
    axis = node.attributes["axis"].as_int() % len(shape)
    if any(channels is not None and channels.axis != first.axis for channels in found):
        trace.decline_inputs(node, "a concatenation of different axes")
    elif axis == first.axis:
        _side_by_side(node, trace, axis)
    else:
        _stacked(node, trace, first)


def _side_by_side(node: ir.Node, trace: Trace, axis: int) -> None:
    parts = []
    for index, value in enumerate(node.inputs):
        channels = trace.at(node, index)
        length = _length(trace, value, axis)
        if length is None and channels is not None:
            length = channels.length
        if length is None:
            trace.decline_inputs(node, "a concatenation of unknown sizes")
            return
        if channels is None:
            parts.append(trace.fixed(length, _beside(node)))
            continue
        atoms = channels.expand(length)
        if atoms is None:
            trace.decline_inputs(node, "a concatenation that does not fit them")
            return
        parts.append(atoms)
    trace.carry(node, Channels(axis, np.concatenate(parts)))


def _beside(node: ir.Node) -> str:
    return f"they are matched with channels that stay, through Concat {node.name!r}"


def _length(trace: Trace, value: ir.Value | None, axis: int) -> int | None:
    fixed = constants.shape(value)
    if fixed is not None:
        return fixed[axis] if axis < len(fixed) else None
    return trace.size(value, axis)


def _stacked(node: ir.Node, trace: Trace, first: Channels) -> None:
    """Constants are sliced; channels of inputs that are not followed must stay.

    A constant may be repeated for each input of a batch before, as the class token of a ViT is.
    """
    merged = first
    for index, value in enumerate(node.inputs):
        channels = trace.at(node, index)
        fixed = folded_shape(value) if channels is None else None
        if channels is None and fixed is None:
            channels = follow_constant(node, index, merged.axis, trace)
        if channels is not None:
            joined = trace.join(merged, channels)
            if joined is None:
                trace.decline_inputs(node, "a concatenation that does not fit them")
                return
            merged = joined
        elif fixed is not None:
            trace.slice(node, index, merged.axis, merged)
        else:
            trace.decline(node, merged, "where they meet values whose channels must stay")
    trace.carry(node, merged)


@rule("Split")
def split(node: ir.Node, trace: Trace) -> None:
    """Along the channel axis each output has its own run of channels."""
    channels, shape = trace.at(node), trace.shape(node.inputs[0])
    if channels is None:
        return
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    if shape is None:
        trace.decline(node, channels, "which splits an unknown rank")
        return
    if axis % len(shape) != channels.axis:
        for output in range(len(node.outputs)):
            trace.carry(node, channels, output)
        return
    atoms = channels.owners()
    sizes = None if atoms is None else _split_sizes(node, trace, len(atoms))
    if atoms is None or sizes is None or sum(sizes) != len(atoms):
        trace.decline(node, channels, "which splits them in a way not understood")
        return
    parts = np.split(atoms, np.cumsum(sizes)[:-1])
    _count_parts(node, trace, parts)
    for output, part in enumerate(parts):
        trace.carry(node, Channels(channels.axis, part), output)


def _split_sizes(node: ir.Node, trace: Trace, length: int) -> list[int] | None:
    if "split" in node.attributes:
        return list(node.attributes["split"].as_ints())
    if Place(node, 1).value is not None:
        return _static_ints(trace, node.inputs[1])
    # Equal parts; the last one may be smaller.
    each = -(-length // len(node.outputs))
    return [min(each, length - k * each) for k in range(len(node.outputs))]


def _count_parts(node: ir.Node, trace: Trace, parts: Sequence[IntArray]) -> None:
    """The sizes shrink with the channels; equal parts, written as none, must stay equal."""
    if "split" in node.attributes:
        for position, part in enumerate(parts):
            trace.count(node, "split", part, position)
    elif Place(node, 1).value is not None:
        computed = _computed(trace, Place(node, 1))
        for position, part in enumerate(parts):
            trace.count(node, Place(node, 1), part, position, computed=computed)
        trace.settled.add((node, 1))
    elif len({len(part) for part in parts}) == 1:
        trace.atoms.tie(np.stack(parts, axis=1))
    else:  # sizes that are not written down: they will be, since they change
        sizes = np.array([len(part) for part in parts], np.int64)
        for position, part in enumerate(parts):
            trace.count(node, Place(node, 1), part, position, computed=sizes)


@rule("Slice")
def slice_(node: ir.Node, trace: Trace) -> None:
    """Along the channel axis: a run of channels, whose bounds move as channels before them go; with
    a step other than 1, channels of any places.
    """
    channels, shape = trace.at(node), trace.shape(node.inputs[0])
    if channels is None:
        trace.decline_inputs(node, "which takes them as bounds")
        return
    axes = _slice_axes(node, trace, len(shape)) if shape is not None else None
    if axes is None:
        trace.decline(node, channels, "whose axes are not constant")
        return
    if channels.axis not in axes:
        trace.carry(node, channels)
        return
    position = axes.index(channels.axis)
    atoms, bounds = channels.owners(), _bounds(node, trace, position)
    if atoms is not None and bounds is not None and bounds[2] not in (0, 1) and len(axes) == 1:
        trace.step(node, channels, np.arange(len(atoms))[slice(*bounds)])
        return
    if atoms is None or bounds is None or bounds[2] != 1:
        trace.decline(node, channels, "which takes a part of them in a way not understood")
        return
    start, end, _ = slice(bounds[0], bounds[1]).indices(len(atoms))
    places = [_bound_place(node, name) for name in ("starts", "ends")]
    for place, given, bound in zip(places, bounds, (start, end), strict=False):
        computed = _computed(trace, place)
        # A bound at or beyond the end stays there; one counted from the end becomes a plain count.
        if computed is not None or not (given >= len(atoms) or given == 0):
            trace.count(node, place, atoms[:bound], position, computed=computed)
        if isinstance(place, Place):
            trace.settled.add((node, place.index))
    trace.carry(node, Channels(channels.axis, atoms[start:end]))


def _bound_place(node: ir.Node, name: str) -> Place | str:
    return name if name in node.attributes else Place(node, 1 if name == "starts" else 2)


def _slice_axes(node: ir.Node, trace: Trace, rank: int) -> list[int] | None:
    """The axes that a Slice cuts: as many as it has starts, from the first on, unless it says."""
    if "starts" in node.attributes:
        starts = list(node.attributes["starts"].as_ints())
        axes = list(node.attributes["axes"].as_ints()) if "axes" in node.attributes else None
    else:
        named = Place(node, 3).value is not None
        axes = _ints(node.inputs[3]) if named else None
        length = trace.size(node.inputs[1], 0) or (constants.shape(node.inputs[1]) or (None,))[0]
        if (named and axes is None) or (not named and length is None):
            return None
        starts = [0] * (length or 0)
    return [axis % rank for axis in (range(len(starts)) if axes is None else axes)]


def _bounds(node: ir.Node, trace: Trace, position: int) -> tuple[int, int, int] | None:
    """Start, end and step of one of the axes that a Slice cuts."""
    if "starts" in node.attributes:
        starts, ends = (node.attributes[name].as_ints()[position] for name in ("starts", "ends"))
        return starts, ends, 1
    found = [_static_ints(trace, Place(node, index).value) for index in (1, 2)]
    steps = [1] * (position + 1) if Place(node, 4).value is None else _ints(node.inputs[4])
    if found[0] is None or found[1] is None or steps is None:
        return None
    return found[0][position], found[1][position], steps[position]


@rule("Gather")
def gather(node: ir.Node, trace: Trace) -> None:
    """Along the channel axis: the channels of constant indices; along another: no change to them,
    where the indices stand for one position or a list of them.
    """
    channels, shape = trace.at(node), trace.shape(node.inputs[0])
    if channels is None:
        trace.decline_inputs(node, "which takes them as indices")
        return
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    indices = trace.shape(node.inputs[1])
    indices = constants.shape(node.inputs[1]) if indices is None else indices
    if shape is None or indices is None:
        trace.decline(node, channels, "which picks from an unknown rank")
        return
    axis %= len(shape)
    if axis != channels.axis:
        added = len(indices) - 1 if axis < channels.axis else 0
        trace.carry(node, channels.at(channels.axis + added))
        return
    picked, atoms = fold(node.inputs[1]), channels.owners()
    if picked is None or picked.ndim != 1 or atoms is None:
        trace.decline(node, channels, "which picks some of them in a way not understood")
        return
    if np.any((picked < -len(atoms)) | (picked >= len(atoms))):
        trace.decline(node, channels, "which picks some that are not there")
        return
    trace.pick(node, 1, atoms)
    trace.carry(node, Channels(axis, atoms[picked]))


@rule("Pad")
def pad(node: ir.Node, trace: Trace) -> None:
    """Padding of other axes; added channels are zeros that may go with those they are added to.

    The amounts of other axes may be computed, as those that fill up windows are.
    """
    channels = trace.at(node)
    if channels is None:
        return
    shape = trace.shape(node.inputs[0])
    axes = None if shape is None else _padded_axes(node, len(shape))
    amounts = _pads(node, trace)
    if axes is None or amounts is None or len(amounts) != 2 * len(axes):
        trace.decline(node, channels, "whose amounts are not constant")
    elif channels.axis not in axes:
        trace.carry(node, channels)
    else:
        first = axes.index(channels.axis)
        _pad_channels(node, trace, channels, amounts, (first, first + len(axes)))


def _pad_channels(
    node: ir.Node,
    trace: Trace,
    channels: Channels,
    amounts: Sequence[int | None],
    positions: tuple[int, int],
) -> None:
    """Two of the amounts are those before and behind the channels."""
    before, behind = (amounts[position] for position in positions)
    if before == behind == 0:
        trace.carry(node, channels)
        return
    atoms, place = channels.owners(), _pad_place(node)
    mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "constant"
    fixed = isinstance(place, str) or fold(place.value) is not None
    if before is None or behind is None or not fixed:
        trace.decline(node, channels, "whose amounts are not constant")
        return
    if atoms is None or min(before, behind) < 0 or mode != "constant":
        trace.decline(node, channels, "which adds channels in a way not understood")
        return
    added = [trace.atoms.fresh(count) for count in (before, behind)]
    for position, fresh in zip(positions, added, strict=True):
        trace.count(node, place, fresh, position)
    trace.carry(node, Channels(channels.axis, np.concatenate([added[0], atoms, added[1]])))


def _pad_place(node: ir.Node) -> Place | str:
    return next((name for name in ("pads", "paddings") if name in node.attributes), Place(node, 1))


def _padded_axes(node: ir.Node, rank: int) -> list[int] | None:
    """The axes that the amounts belong to, all of them unless a constant says which."""
    if Place(node, 3).value is None:
        return list(range(rank))
    found = _ints(node.inputs[3])
    return None if found is None else [axis % rank for axis in found]


def _pads(node: ir.Node, trace: Trace) -> Sequence[int | None] | None:
    """The amounts of a Pad; None for one that is computed while the model runs, and where not
    even their number is known.
    """
    for name in ("pads", "paddings"):
        if name in node.attributes:
            return list(node.attributes[name].as_ints())
    return static_entries(node.inputs[1], trace.shapes)


def _ints(value: ir.Value | None) -> list[int] | None:
    """Integers that are constant or computed from constants."""
    folded = fold(value)
    return None if folded is None else [int(number) for number in folded.ravel()]


def _static_ints(trace: Trace, value: ir.Value | None) -> list[int] | None:
    """Integers that are constant or computed from constants and static sizes."""
    found = static(value, trace.shapes)
    return None if found is None else [int(number) for number in found.ravel()]


def _computed(trace: Trace, place: Place | str) -> IntArray | None:
    """What a place gives that depends on static sizes; None where it is a constant."""
    if isinstance(place, str) or fold(place.value) is not None:
        return None
    return static(place.value, trace.shapes)
