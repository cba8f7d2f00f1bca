"""Walking a graph: every node's channels are followed, in topological order."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.trace import shared_weights
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rules import rule_for


def trace(graph: ir.Graph, shapes: Shapes) -> Trace:
    """Walk a graph with the rules of :mod:`nmcore_onnx.trace.rules`."""
    state = Trace(graph, shapes)
    for node in graph:
        rule_for(node)(node, state)
        state.visited.add(node)
    state.run_checks()
    shared_weights.tie(state)
    state.finish()
    return state
