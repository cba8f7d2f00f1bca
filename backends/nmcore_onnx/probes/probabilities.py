"""Layers whose outputs the model gives as probabilities, each by a sigmoid of its own."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.context import Trace

# What moves values without changing them, so that a sigmoid behind it reads what the layer gave.
_MOVES = frozenset(
    (
        *("Cast", "Concat", "Dropout", "Flatten", "Gather", "Identity", "Reshape"),
        *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    )
)


def layers(trace: Trace) -> Collection[ir.Node]:
    """The products that read a group and make nothing but what sigmoids at the model's end read.

    Behind such a sigmoid no weight follows, as one does behind most gates. Whatever else reads what
    is made, as a sum or the product in x sigmoid(x) does, rules a layer out.
    """
    followed = _followed(trace)
    nodes = {place.node for slot in trace.consumers for place in slot.all}
    return frozenset(node for node in nodes if _is_likelihood(node, trace, followed))


def _is_likelihood(node: ir.Node, trace: Trace, followed: Collection[ir.Node]) -> bool:
    operator = operators.weighted(node)
    # What recurrent layers, attention and fused activations give is no linear product.
    if operator.output_axis is None or operator.is_activated:
        return False
    made = trace.channels.get(operator.output(node))
    if made is None or not len(made.atoms):
        return False
    return _ends_in_sigmoids(operator.output(node), made.atoms, trace, followed)


def _ends_in_sigmoids(
    output: ir.Value, atoms: IntArray, trace: Trace, followed: Collection[ir.Node]
) -> bool:
    """Whether every way that some channels take from a value on ends in a sigmoid."""
    own = trace.atoms.roots(atoms)
    waiting, ends = [output], 0
    while waiting:
        value = waiting.pop()
        channels = trace.channels.get(value)
        if channels is None or value.is_graph_output():
            return False
        if not np.isin(trace.atoms.roots(channels.atoms), own).any():
            continue  # another part of what was put together
        for node in (use.node for use in value.uses()):
            if node.op_type == "Sigmoid" and node not in followed:
                ends += 1
            elif node.op_type == "Shape":
                continue  # nothing of the values
            elif node.op_type in _MOVES:
                waiting += [each for each in node.outputs if each.uses() or each.is_graph_output()]
            else:
                return False
    return ends > 0


def _followed(trace: Trace) -> set[ir.Node]:
    """The nodes behind which there is a weight."""
    weighted = {place.node for slot in trace.consumers for place in slot.all}
    weighted |= {slot.node for slot in trace.producers} | set(trace.left)
    found: set[ir.Node] = set()
    for node in reversed(list(trace.graph)):
        readers = {use.node for output in node.outputs for use in output.uses()}
        if readers & weighted or readers & found:
            found.add(node)
    return found
