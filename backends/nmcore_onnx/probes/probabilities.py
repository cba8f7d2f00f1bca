"""Layers whose outputs the model gives as probabilities, each by a sigmoid of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.ir.nodes import only_reader
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.context import Trace

# A value of fewer axes has a single row an input: too few to weigh.
_RANK = 3


def layers(trace: Trace) -> Collection[ir.Node]:
    """The nodes that read a group and make nothing but what ends in sigmoids, at several positions.

    Behind such a sigmoid no weight follows, as one does behind gates of channels, and nothing else
    reads what it reads, as a product does in x sigmoid(x).
    """
    ends = [trace.atoms.roots(atoms) for atoms in _ends(trace)]
    if not ends:
        return frozenset()
    known = np.concatenate(ends)
    nodes = {place.node for slot in trace.consumers for place in slot.all}
    return frozenset(node for node in nodes if _is_within(node, trace, known))


def _is_within(node: ir.Node, trace: Trace, known: IntArray) -> bool:
    """Whether all channels that a node makes are among some owners."""
    made = trace.channels.get(operators.weighted(node).output(node))
    if made is None or not len(made.atoms):
        return False
    return bool(np.isin(trace.atoms.roots(made.atoms), known).all())


def _ends(trace: Trace) -> Iterator[IntArray]:
    """The channels that arrive at each such sigmoid."""
    followed = _followed(trace)
    for node in trace.graph:
        value = node.inputs[0] if node.op_type == "Sigmoid" and node not in followed else None
        channels, shape = trace.at(node), trace.shape(value)
        if value is None or channels is None or shape is None or len(shape) < _RANK:
            continue
        if only_reader(value) is not None:
            yield channels.atoms


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
