"""Layers whose outputs the model gives as probabilities, each by a sigmoid of its own."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.ir.nodes import only_reader
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.context import Trace


def layers(trace: Trace) -> frozenset[ir.Node]:
    """The nodes that read a group and make nothing but what ends in sigmoids.

    Behind such a sigmoid no weight follows, as one does behind gates of channels, and nothing but
    the sigmoid reads its input, as a product does in x sigmoid(x).
    """
    found = [trace.channels[value] for value in _ends(trace) if value in trace.channels]
    ends = [trace.atoms.roots(each.atoms) for each in found]
    if not ends:
        return frozenset()
    known = np.unique(np.concatenate(ends))
    nodes = {place.node for slot in trace.consumers for place in slot.all}
    return frozenset(node for node in nodes if _is_within(node, trace, known))


def _is_within(node: ir.Node, trace: Trace, known: IntArray) -> bool:
    """Whether all channels that a node makes are among some owners."""
    made = trace.channels.get(operators.weighted(node).output(node))
    if made is None or not len(made.atoms):
        return False
    return bool(np.isin(trace.atoms.roots(made.atoms), known).all())


def _ends(trace: Trace) -> list[ir.Value]:
    """What is read by a sigmoid alone, of those that no weight follows."""
    weighted = {place.node for slot in trace.consumers for place in slot.all}
    weighted |= {slot.node for slot in trace.producers}
    followed: set[ir.Node] = set()
    for node in reversed(list(trace.graph)):
        readers = {use.node for output in node.outputs for use in output.uses()}
        if readers & weighted or readers & followed:
            followed.add(node)
    sigmoids = (n for n in trace.graph if n.op_type == "Sigmoid" and n not in followed)
    read = (node.inputs[0] for node in sigmoids)
    return [value for value in read if value is not None and only_reader(value) is not None]
