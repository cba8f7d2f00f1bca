"""Cuts of a graph: the values that are live before a node runs, and probes that begin with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from nmcore.group import IntArray
from nmcore.plugins.protocols import Carried
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.rewrite.model_copy import Copy
from nmcore_onnx.trace.context import Trace


@dataclass(frozen=True, eq=False)
class Resumed:
    """A value that a probe is given.

    Attributes
    ----------
    carried : Carried
        Which one, and when it was computed.
    value : ir.Value
        The same in the original graph.
    axis : int
        Its channel axis.
    left : int array or None
        Which of the entries that it had then are left; None where all are.
    """

    carried: Carried
    value: ir.Value
    axis: int = 0
    left: IntArray | None = None


def live(
    order: Mapping[ir.Node, int], before: int, carriable: Callable[[ir.Value], bool]
) -> list[ir.Value]:
    """The values of earlier nodes that the node of this number and later ones need.

    What cannot be carried is computed anew from what can.
    """
    found: dict[ir.Value, None] = {}
    seen: set[ir.Node] = set()
    open_ = [value for node, number in order.items() if number >= before for value in node.inputs]
    while open_:
        value = open_.pop()
        maker = value.producer() if value is not None else None
        if value is None or maker is None or order.get(maker, before) >= before:
            continue
        if carriable(value):
            found[value] = None
        elif maker not in seen:
            seen.add(maker)
            open_ += maker.inputs
    return sorted(found, key=lambda value: order[value.producer()])  # type: ignore[index]


def between(
    order: Mapping[ir.Node, int], start: Iterable[ir.Value], stop: Iterable[ir.Value]
) -> list[ir.Node]:
    """The nodes that make some values of others, in their order."""
    found: set[ir.Node] = set()
    seen, open_ = set(start), [*stop]
    while open_:
        value = open_.pop()
        maker = value.producer()
        if value in seen or maker is None or maker in found:
            continue
        found.add(maker)
        open_ += [each for each in maker.inputs if each is not None]
    return sorted(found, key=order.__getitem__)


def computed(graph: ir.Graph) -> set[ir.Value]:
    """The values that depend on the inputs; all others are constants, however they are made."""
    found = {value for value in graph.inputs if not value.is_initializer()}
    for node in graph:
        if any(value in found for value in node.inputs if value is not None):
            found.update(node.outputs)
    return found


# Operators whose first output is of another type than the numbers that they read.
_OF_OTHER_TYPES = frozenset(
    (
        *("Shape", "Size", "ArgMax", "ArgMin", "NonZero", "NonMaxSuppression", "Bernoulli"),
        *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "IsNaN", "IsInf"),
        *("And", "Or", "Xor", "Not", "QuantizeLinear", "DynamicQuantizeLinear", "CastLike"),
        *("SequenceConstruct", "SplitToSequence", "SequenceInsert", "Optional"),
    )
)


def single_precision(graph: ir.Graph) -> set[ir.Value]:
    """The computed values that are known to be single-precision arrays.

    Files state few types. An operator is taken to keep the type of the numbers that it reads,
    except where it is known to do otherwise; what cannot be told is left out.
    """
    found = {value for value in graph.inputs if value.dtype == ir.DataType.FLOAT}
    for node in graph:
        for value in node.outputs:
            if value.dtype is not None:
                known = value.dtype == ir.DataType.FLOAT
            elif node.op_type == "Cast":
                known = node.attributes["to"].as_int() == ir.DataType.FLOAT
            else:
                keeps = node.op_type not in _OF_OTHER_TYPES and value is node.outputs[0]
                known = keeps and any(each in found for each in node.inputs if each is not None)
            if known:
                found.add(value)
    return found


def owners(trace: Trace, value: ir.Value) -> tuple[int, IntArray] | None:
    """The channel axis of a value and the atom that owns each of its positions, where known."""
    channels = trace.channels.get(value)
    if channels is None:
        return None
    size = trace.size(value, channels.axis)
    atoms = channels.owners() if size is None else channels.expand(size)
    return None if atoms is None else (channels.axis, atoms)


def resumed(trace: Trace, value: ir.Value, carried: Carried, removed: IntArray) -> Resumed:
    """What is left of a carried value, once more channels have been removed."""
    found = owners(trace, value)
    if found is None or carried.removed == len(removed):
        return Resumed(carried, value)
    axis, atoms = found
    then, now = (~np.isin(atoms, gone) for gone in (removed[: carried.removed], removed))
    left = np.flatnonzero(now[then])
    return Resumed(carried, value, axis, None if len(left) == then.sum() else left)


def begin(
    graph: ir.Graph, copy: Copy, values: Sequence[Resumed], *, original: bool = False
) -> None:
    """Let a copy of a model, whose nodes stand in a graph, read values instead of computing them.

    ``original`` tells which names the new inputs have. The graph has no outputs afterwards.
    """
    graph.outputs.clear()
    build = Builder(graph, prefix="nmcore.begin")
    if values:
        build.before(graph[0])
    for each in values:
        name = each.carried.original if original else each.carried.current
        given = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT))
        graph.inputs.append(given)
        if not copy.knows(each.value):
            continue  # no node of a part reads it
        new = given
        if not original and each.left is not None:
            new = build.node("Gather", given, build.ints(*each.left.tolist()), axis=each.axis)
        ir.convenience.replace_all_uses_with(copy.value(each.value), new)
        copy.move(each.value, new)


def behind(current: Copy, outputs: Sequence[ir.Value], values: Sequence[Resumed]) -> ir.Model:
    """Let a copy of a model, or of a part of it, read values instead of computing them; it becomes
    the result.

    Its outputs are the model's, but for their names where such a value is one.
    """
    graph, given = current.model.graph, {each.value for each in values}
    found = dict(zip(outputs, graph.outputs, strict=False))
    begin(graph, current, values)
    build = Builder(graph, prefix="nmcore.behind")
    graph.outputs.extend(
        build.node("Identity", current.value(each))
        if each in given
        else found.get(each) or current.value(each)
        for each in outputs
    )
    RemoveUnusedNodesPass()(current.model)
    return current.model
