"""The states of a model that shrink with its channels: their shapes, and as wide as they were."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore.plugins.states import StateChange
from nmcore_onnx.ir import constants, names
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.rewrite.model_copy import Copy
from nmcore_onnx.trace.context import Trace


def changes(trace: Trace, removed: IntArray) -> Iterator[StateChange]:
    """Each input and output that is a state and has lost channels."""
    for given, following in trace.states.items():
        for value, is_output in ((given, False), (following, True)):
            kept = None if value is None else _kept(trace, value, removed)
            if value is None or kept is None:
                continue
            shape, axis = trace.shape(value) or (), trace.channels[value].axis
            before = tuple(size if isinstance(size, int) else None for size in shape)
            after = (*before[:axis], len(kept), *before[axis + 1 :])
            yield StateChange(str(value.name), is_output, before, after)


def keep_inputs(copy: Copy, trace: Trace, removed: IntArray) -> None:
    """Let a model take states as wide as they were; what is gone of them is not read."""
    for value in trace.states:
        kept = _kept(trace, value, removed)
        if kept is None:
            continue
        mine = copy.value(value)
        mine.shape = value.shape
        uses = list(mine.uses())
        if not uses:
            continue
        picked = _picked(copy.model.graph, mine, trace.channels[value].axis, kept)
        for use in uses:
            use.node.replace_input_with(use.idx, picked)
        copy.move(value, picked)


def narrow_outputs(copy: Copy, trace: Trace, removed: IntArray) -> None:
    """Let a model give of its states what is left once channels are removed."""
    graph = copy.model.graph
    for value in trace.states.values():
        kept = None if value is None else _kept(trace, value, removed)
        if value is None or kept is None:
            continue
        mine = copy.value(value)
        place = list(graph.outputs).index(mine)
        name, kind = str(mine.name), mine.type
        picked = _picked(graph, mine, trace.channels[value].axis, kept)
        graph.outputs[place] = picked
        mine.name = names.value_name(graph, f"{name}.whole")
        picked.name, picked.type = name, kind


def _kept(trace: Trace, value: ir.Value, removed: IntArray) -> IntArray | None:
    """Which channels of a state are left; None where all are."""
    owners = trace.channels[value].owners()
    assert owners is not None
    gone = np.isin(owners, removed)
    return np.flatnonzero(~gone) if gone.any() else None


def _picked(graph: ir.Graph, value: ir.Value, axis: int, kept: IntArray) -> ir.Value:
    """Some entries of a value on an axis."""
    name = names.node_name(graph, f"{value.name}.kept")
    node = ir.node("Gather", [value, None], {"axis": axis}, name=name)
    node.outputs[0].name = names.value_name(graph, f"{name}.output")
    maker = value.producer()
    if maker is None:
        graph.insert_before(graph[0], node)
    else:
        graph.append(node)
    constants.insert(Place(node, 1), f"{name}.channels", kept.astype(np.int64))
    return node.outputs[0]
