"""Layers whose outputs the model gives as probabilities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.ir.nodes import only_reader
from nmcore_onnx.trace import axes, operators
from nmcore_onnx.trace.context import Trace

_SIGMOID, _SOFTMAX = "Sigmoid", "Softmax"
# What makes probabilities, and the operator that tells them.
_ENDS = {_SIGMOID: _SIGMOID, _SOFTMAX: _SOFTMAX, "LogSoftmax": _SOFTMAX}
# A value of fewer axes has a single row an input: too few to weigh.
_RANK = 3


def layers(trace: Trace) -> Mapping[ir.Node, str]:
    """The nodes that read a group and make nothing but what ends in sigmoids or in a softmax over
    what they make, at several positions; with the operator, Sigmoid or Softmax.

    Behind such an end no weight follows, as one does behind gates and attention, and nothing else
    reads what it reads, as a product does in x sigmoid(x).
    """
    ends: dict[str, list[IntArray]] = defaultdict(list)
    for kind, atoms in _ends(trace):
        ends[kind].append(trace.atoms.roots(atoms))
    nodes = {place.node for slot in trace.consumers for place in slot.all}
    return {
        node: kind
        for kind, atoms in ends.items()
        for node in nodes
        if _is_within(node, trace, np.concatenate(atoms))
    }


def _is_within(node: ir.Node, trace: Trace, known: IntArray) -> bool:
    """Whether all channels that a node makes are among some owners."""
    made = trace.channels.get(operators.weighted(node).output(node))
    if made is None or not len(made.atoms):
        return False
    return bool(np.isin(trace.atoms.roots(made.atoms), known).all())


def _ends(trace: Trace) -> Iterator[tuple[str, IntArray]]:
    """The channels that arrive at each end, with the operator."""
    followed = _followed(trace)
    for node in trace.graph:
        value = node.inputs[0] if node.op_type in _ENDS and node not in followed else None
        channels, shape = trace.at(node), trace.shape(value)
        if value is None or channels is None or shape is None or len(shape) < _RANK:
            continue
        kind = _ENDS[node.op_type]
        is_over = kind == _SIGMOID or axes.normalised_axes(node, trace, len(shape)) == {
            channels.axis
        }
        if is_over and only_reader(value) is not None:
            yield kind, channels.atoms


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
