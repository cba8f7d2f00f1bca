"""Walking a graph: every node's channels are followed, in topological order.

Nodes in bodies of If, Loop and Scan come before the node that runs them: what they read of the
graph around is known by then.
"""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import bodies
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.trace import shared_weights
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.rules import rule_for
from nmcore_onnx.trace.states import interface, past


def trace(graph: ir.Graph, shapes: Shapes, *, states: bool = False) -> Trace:
    """Walk a graph with the rules of :mod:`nmcore_onnx.trace.rules`.

    ``states`` says whether those that are inputs and outputs of the model may shrink.
    """
    found = _walked(Trace(graph, shapes))
    pasts = past.find_pasts(found)
    if states or pasts:
        found = _walked(Trace(graph, shapes, opens_states=states, pasts=pasts))
    found.run_checks()
    interface.close(found)
    shared_weights.tie(found)
    found.finish()
    return found


def _walked(state: Trace) -> Trace:
    """Every node visited; what is of the past is found in a first walk, as nodes tell its axes."""
    interface.begin(state)
    past.begin(state)
    for node in bodies.walk(state.graph):
        rule_for(node)(node, state)
        state.visited.add(node)
    return state
