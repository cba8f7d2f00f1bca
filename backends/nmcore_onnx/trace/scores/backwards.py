"""From the scores back to the layer that projects queries or keys, one node at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import label
from nmcore_onnx.shapes import shape_values
from nmcore_onnx.shapes.reshape_axes import match
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.axes import axis_behind, squeezed_axes
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.scores.slots import HeadValue, InnerCount, Side
from nmcore_onnx.trace.scores.softmax import is_single
from nmcore_onnx.trace.slots import CountSlot, Slot


class NotFollowedError(Exception):
    """Why channels inside heads cannot be followed."""


@dataclass(eq=False)
class BackwardPath:
    """The way back, as far as it has been gone.

    Attributes
    ----------
    trace : Trace
        Of the whole graph.
    atoms : int array, shape (D,)
        The channels inside a head.
    head_values : list of HeadValue
        The values so far, the scores' own first.
    counts : list of InnerCount
        The sizes that follow.
    shape_only : list of HeadValue
        Values of which nothing but the shape is read.
    """

    trace: Trace
    atoms: IntArray
    head_values: list[HeadValue] = field(default_factory=list)
    counts: list[InnerCount] = field(default_factory=list)
    shape_only: list[HeadValue] = field(default_factory=list)

    def count(self, node: ir.Node, index: int, entry: shape_values.Entry, after: HeadValue) -> None:
        """Let an entry of the sizes that ``node`` reads follow; ``after`` is what they are of."""
        place, found, position = entry.place, entry.computed, entry.position
        if entry.static is not None:
            place, found = entry.static
            position = 0
        length = after.heads * len(self.atoms)
        number = entry.number if found is None else int(found.reshape(-1)[position])
        target = shape_values.entries(Place(node, index), self.trace.shapes) or []
        same = [each for each in target if (each.place, each.position) == (place, position)]
        if place is None or number != length or (entry.static is None and len(same) > 1):
            raise NotFollowedError(f"pass {_named(node)}, whose sizes are not understood")
        slot = CountSlot(node, place, position, np.tile(self.atoms, after.heads), entry.path, found)
        channels = self.trace.channels.get(after.value)
        heads = None
        if channels is not None and channels.axis == after.axis:
            heads = channels.expand(length)
        self.counts.append(InnerCount(slot, heads))


def followed(trace: Trace, start: HeadValue, atoms: IntArray, reader: ir.Node) -> Side:
    """The projection that makes queries or keys, and all between.

    Raises
    ------
    NotFollowedError
        Something stands between that does not let single channels pass.
    """
    path, now = BackwardPath(trace, atoms), start
    while True:
        node = _alone(now, reader, path)
        path.head_values.append(now)
        operator = operators.find(node)
        if isinstance(operator, operators.Weighted) and constants.is_float(
            node.inputs[operator.weight_input]
        ):
            return _projection(path, node, operator)
        if _is_bias(node, now, trace):
            now, reader = HeadValue(_other(node), now.axis, now.heads), node
            continue
        step = _STEPS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if step is None:
            raise NotFollowedError(_why(node))
        now, reader = step(node, now, path), node


def _alone(now: HeadValue, reader: ir.Node, path: BackwardPath) -> ir.Node:
    """The node that makes a value which nobody else reads but for its shape."""
    value = now.value
    maker = value.producer()
    if maker is None:
        raise NotFollowedError("come from an input or a constant")
    others = {use.node for use in value.uses()} - {reader}
    if value.is_graph_output() or not all(_is_for_shape(node, now, path) for node in others):
        raise NotFollowedError("are read by others, too, or given out")
    if path.trace.size(value, now.axis) is None:
        raise NotFollowedError(f"pass {_named(maker)}, behind which their width is not known")
    return maker


def _is_for_shape(node: ir.Node, now: HeadValue, path: BackwardPath) -> bool:
    """Whether a reader wants to know a shape, perhaps behind a Transpose."""
    if node.op_type == "Shape":
        return True
    if node.op_type != "Transpose" or "perm" not in node.attributes:
        return False
    turned = node.outputs[0]
    if turned.is_graph_output() or any(use.node.op_type != "Shape" for use in turned.uses()):
        return False
    axis = list(node.attributes["perm"].as_ints()).index(now.axis)
    path.shape_only.append(HeadValue(turned, axis, now.heads))
    return True


def _why(node: ir.Node) -> str:
    kind = node.op_type
    if kind == "RotaryEmbedding":
        return f"pass {_named(node)}, which turns pairs of them"
    if "Norm" in kind:
        return f"pass {_named(node)}, a norm over them"
    if kind == "Concat":
        return f"pass {_named(node)}, which puts others beside them, such as those of the past"
    if kind in ("Split", "Gather", "Slice"):
        return f"pass {_named(node)}, which takes them out of one value with others"
    if kind in ("Add", "Sub", "Mul"):
        return f"pass {_named(node)}, which treats them one by one, as a rotary embedding does"
    return f"pass {_named(node)}, which single channels are not followed through"


def _named(node: ir.Node) -> str:
    return f"{node.op_type} {label(node)!r}"


# the projection


def _projection(path: BackwardPath, node: ir.Node, operator: operators.Weighted) -> Side:
    """The layer whose rows make all channels of all heads."""
    last = path.head_values[-1]
    weight = Place(node, operator.weight_input)
    shape = constants.shape(weight.value) or ()
    rows = operator.axes(node)[0] if operator.is_dense and len(shape) == 2 else None
    length = last.heads * len(path.atoms)
    rank = len(path.trace.shape(last.value) or ())
    if rows is None or shape[rows] != length or last.axis != rank - 1:
        raise NotFollowedError(f"come from {_named(node)}, whose rows are not these channels alone")
    source = constants.source(weight.value)
    if source is None or len(constants.readers(source)) > 1:
        raise NotFollowedError(f"come from {_named(node)}, whose weight others read, too")
    owners = np.tile(path.atoms, last.heads)
    bias = _bias(path, node, operator, owners)
    added = bias is not None and bias.place.node is not node
    made = path.head_values[: len(path.head_values) - added]
    unbiased = path.head_values[len(made) :]
    # The value behind the bias comes first, as it is what is measured.
    order = [*made[::-1], *unbiased, *path.shape_only]
    values = [each.value for each in reversed(path.head_values)]
    return Side(node, Slot(weight, rows, owners), bias, order, path.counts, values)


def _bias(
    path: BackwardPath, node: ir.Node, operator: operators.Weighted, owners: IntArray
) -> Slot | None:
    """The bias, in the layer or in an Add right behind it."""
    own = Place(node, operator.bias_input)
    # A MatMul has none of its own.
    places = [own] if len(node.inputs) > own.index and own.value is not None else []
    if len(path.head_values) > 1:
        behind = path.head_values[-2].value.producer()
        assert behind is not None
        if _is_bias(behind, path.head_values[-2], path.trace):
            places.append(Place(behind, 1 - _data_input(behind)))
    if not places:
        return None
    if len(places) > 1:
        raise NotFollowedError(f"come from {_named(node)}, which has two biases")
    (place,) = places
    shape = constants.shape(place.value)
    if not shape or int(np.prod(shape)) != shape[-1] or shape[-1] != len(owners):
        raise NotFollowedError(f"come from {_named(place.node)}, whose bias is not one a channel")
    return Slot(place, len(shape) - 1, owners)


def _data_input(node: ir.Node) -> int:
    """Which input of an Add is no constant."""
    return 1 if constants.tensor(node.inputs[0]) is not None else 0


def _other(node: ir.Node) -> ir.Value:
    value = node.inputs[_data_input(node)]
    assert value is not None
    return value


def _is_bias(node: ir.Node, now: HeadValue, trace: Trace) -> bool:
    """Whether a node adds a constant with an entry a channel right behind a weight."""
    if node.op_type != "Add" or constants.tensor(node.inputs[1 - _data_input(node)]) is None:
        return False
    maker = _other(node).producer()
    operator = operators.find(maker) if maker is not None else None
    dense = isinstance(operator, operators.Weighted) and operator.is_dense
    return dense and now.axis == len(trace.shape(now.value) or ()) - 1


# what single channels pass


def _same(node: ir.Node, now: HeadValue, path: BackwardPath) -> HeadValue:
    value = node.inputs[0]
    assert value is not None
    return HeadValue(value, now.axis, now.heads)


def _scaled(node: ir.Node, now: HeadValue, path: BackwardPath) -> HeadValue:
    """One factor for all channels."""
    for index in (0, 1):
        value, other = node.inputs[index], node.inputs[1 - index]
        if node.op_type == "Div" and index == 1:
            break
        full = len(path.trace.shape(value) or ()) == len(path.trace.shape(now.value) or ())
        if value is not None and full and not is_single(value, path.trace):
            if is_single(other, path.trace):
                return HeadValue(value, now.axis, now.heads)
            break
    raise NotFollowedError(_why(node))


def _transposed(node: ir.Node, now: HeadValue, path: BackwardPath) -> HeadValue:
    rank = len(path.trace.shape(now.value) or ())
    order = list(reversed(range(rank)))
    if "perm" in node.attributes:
        order = list(node.attributes["perm"].as_ints())
    return HeadValue(_same(node, now, path).value, order[now.axis], now.heads)


def _stretched(node: ir.Node, now: HeadValue, path: BackwardPath) -> HeadValue:
    """A Squeeze or an Unsqueeze."""
    value, axes = _same(node, now, path).value, squeezed_axes(node, path.trace)
    rank = len(path.trace.shape(value) or ())
    for axis in range(rank):
        if axes is not None and axis_behind(node, axis, axes) == now.axis:
            return HeadValue(value, axis, now.heads)
    raise NotFollowedError(_why(node))


def _expanded(node: ir.Node, now: HeadValue, path: BackwardPath) -> HeadValue:
    """Keys that several queries read are repeated."""
    value = _same(node, now, path).value
    ranks = [len(path.trace.shape(each) or ()) for each in (value, now.value)]
    axis = now.axis - (ranks[1] - ranks[0])
    target = shape_values.entries(Place(node, 1), path.trace.shapes)
    if target is None or len(target) != ranks[1] or axis < 0:
        raise NotFollowedError(f"pass {_named(node)}, whose sizes are not understood")
    if target[now.axis].number != 1:
        path.count(node, 1, target[now.axis], now)
    return HeadValue(value, axis, now.heads)


def _reshaped(node: ir.Node, now: HeadValue, path: BackwardPath) -> HeadValue:
    """The axis stays whole, or heads side by side become an axis of their own."""
    value = _same(node, now, path).value
    before, after = path.trace.shape(value), path.trace.shape(now.value)
    if before is None or after is None or "shape" in node.attributes:
        raise NotFollowedError(f"pass {_named(node)}, whose sizes are not understood")
    for axis in range(len(before)):
        segment = match(before, list(after), axis)
        if segment is None or now.axis not in segment.outs:
            continue
        if segment.ins != (axis,) or segment.outs[-1] != now.axis:
            break
        size, width = before[axis], after[now.axis]
        if not isinstance(size, int) or not isinstance(width, int):
            break
        heads = now.heads * (size // width)
        found = HeadValue(value, axis, heads)
        _follow_target(node, now, found, path)
        return found
    raise NotFollowedError(f"pass {_named(node)}, which mixes them with other axes")


def _follow_target(node: ir.Node, now: HeadValue, before: HeadValue, path: BackwardPath) -> None:
    """Let the target shape of a Reshape follow.

    A 0 copies the size of the input's axis of the same number, a -1 takes what is left.
    """
    target = shape_values.entries(Place(node, 1), path.trace.shapes)
    if target is None or len(target) != len(path.trace.shape(now.value) or ()):
        raise NotFollowedError(f"pass {_named(node)}, whose sizes are not understood")
    entry = target[now.axis]
    if entry.number == 0:
        if now.axis != before.axis or now.heads != before.heads:
            raise NotFollowedError(f"pass {_named(node)}, whose sizes are not understood")
    elif entry.number != -1:
        path.count(node, 1, entry, now)


Step = Callable[[ir.Node, HeadValue, BackwardPath], HeadValue]

_STEPS: dict[str, Step] = {
    "Identity": _same,
    "Cast": _same,
    "Dropout": _same,
    "Mul": _scaled,
    "Div": _scaled,
    "Transpose": _transposed,
    "Reshape": _reshaped,
    "Squeeze": _stretched,
    "Unsqueeze": _stretched,
    "Expand": _expanded,
}
