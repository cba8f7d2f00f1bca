"""Heads of attention as one operator: where they stand in queries, keys and values.

Heads are an axis of their own, or stand side by side on the last axis. A head has its queries, keys
and values or none of them; where several query heads share those of one key and value head (grouped
queries), they stay or go with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.repeated_constants import follow_constant


@dataclass(frozen=True, eq=False)
class Heads:
    """Heads on an axis of a value.

    Attributes
    ----------
    atoms : int array, shape (count,)
        The owner of each.
    size : int
        How many positions of the axis each has.
    """

    atoms: IntArray
    size: int

    def owners(self) -> IntArray:
        """The owner of each position of the axis, shape (count * size,)."""
        return np.repeat(self.atoms, self.size)


def heads_of(trace: Trace, value: ir.Value | None, axis: int, count: int) -> Heads | None:
    """``count`` heads on an axis of a value, each of whose channels are tied.

    None where the value does not bring channels on that axis, or so many heads do not fit.
    """
    channels = trace.channels.get(value) if value is not None else None
    owners = None if channels is None or channels.axis != axis else channels.owners()
    return None if owners is None else tied(trace, owners, count)


def tied(trace: Trace, owners: IntArray, count: int) -> Heads | None:
    """The same of the owners of an axis, shape (count * size,)."""
    if count < 1 or not len(owners) or len(owners) % count:
        return None
    runs = owners.reshape(count, -1)
    trace.atoms.tie(runs)
    return Heads(runs[:, 0].copy(), runs.shape[1])


def unite(trace: Trace, query: Heads, key: Heads, value: Heads) -> bool:
    """Tie each key head with its value head and with the query heads that read it.

    The query heads of a key head are neighbours. False where their numbers do not fit.
    """
    count = len(key.atoms)
    if count != len(value.atoms) or len(query.atoms) % count:
        return False
    groups = query.atoms.reshape(count, -1)
    trace.atoms.tie(groups)
    trace.atoms.unite(groups[:, 0], key.atoms)
    trace.atoms.unite(groups[:, 0], value.atoms)
    return True


def has_state(node: ir.Node, inputs: range, first: int = 1) -> bool:
    """Whether a node reads keys and values of the past from ``inputs``, or others read what it
    gives from output ``first`` on: their shapes are part of the model's interface.
    """
    given = any(node.inputs[index] is not None for index in inputs if index < len(node.inputs))
    return given or any(value.uses() or value.is_graph_output() for value in node.outputs[first:])


def follow_past(
    node: ir.Node, trace: Trace, pasts: tuple[int, ...], heads: tuple[Heads, ...], axis: int = 1
) -> bool:
    """Let keys and values of the past go with the heads that they belong to.

    Parameters
    ----------
    pasts : tuple of int
        The inputs that hold them, which count heads on ``axis``; the outputs from 1 on give them in
        this order with the new ones.
    heads : tuple of Heads
        Those of each.

    Returns
    -------
    bool
        False where the heads of an input are not known.
    """
    for output, (index, own) in enumerate(zip(pasts, heads, strict=True), start=1):
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is not None:
            found = heads_of(trace, value, axis, len(own.atoms))
            if found is None or found.size != 1:
                return False
            trace.atoms.unite(own.atoms, found.atoms)
        if output < len(node.outputs):
            trace.carry(node, Channels(axis, own.atoms), output)
    return True


def mask_follows(node: ir.Node, index: int, heads: Heads, trace: Trace) -> bool:
    """Let what is added to the scores, (.., heads or 1, length, length), follow the heads.

    A constant with an entry a head is cut, also where it is picked from or repeated before;
    channels on its axis of heads are joined. False where it has an entry a head that is computed
    otherwise.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return True
    shape = constants.shape(value) or trace.shape(value)
    if shape is None:
        return False
    if len(shape) < 3 or shape[-3] == 1:
        return trace.at(node, index) is None
    axis, count = len(shape) - 3, len(heads.atoms)
    fixed = constants.tensor(value) is not None
    found = trace.at(node, index)
    if found is None and not fixed:
        found = follow_constant(node, index, axis, trace)
    if found is not None:
        own = heads_of(trace, value, axis, count)
        if own is None or own.size != 1:
            return False
        trace.atoms.unite(heads.atoms, own.atoms)
        return True
    if not fixed or shape[axis] != count:
        return False
    trace.slice(node, index, axis, Channels(axis, heads.atoms))
    return True
