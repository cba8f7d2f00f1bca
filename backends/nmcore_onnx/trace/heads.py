"""Heads of attention as one operator: where they stand in queries, keys and values.

Heads are an axis of their own, or stand side by side on the last axis. A head has its queries, keys
and values or none of them; where several query heads share those of one key and value head (grouped
queries), they stay or go with it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from nmcore.group import IntArray
from nmcore_onnx.ir import constants
from nmcore_onnx.trace.channels import Channels
from nmcore_onnx.trace.context import Trace

NO_WEIGHTS = "whose heads do not all come from weights that can shrink"


def heads_of(trace: Trace, value: ir.Value | None, axis: int, count: int) -> IntArray | None:
    """The atom of each of ``count`` heads on an axis of a value, shape (count,).

    The channels of a head are tied. None where the value brings no channels on that axis.
    """
    channels = trace.channels.get(value) if value is not None else None
    owners = None if channels is None or channels.axis != axis else channels.owners()
    return None if owners is None else tied(trace, owners, count)


def tied(trace: Trace, owners: IntArray, count: int) -> IntArray | None:
    """The same of the owners of an axis, shape (count * size,)."""
    if count < 1 or not len(owners) or len(owners) % count:
        return None
    runs = owners.reshape(count, -1)
    trace.atoms.tie(runs)
    return runs[:, 0].copy()


def unite(trace: Trace, queries: IntArray, keys: IntArray, values: IntArray) -> bool:
    """Tie each key head with its value head and with the query heads that read it."""
    if len(keys) != len(values) or not len(keys) or len(queries) % len(keys):
        return False
    groups = queries.reshape(len(keys), -1)
    trace.atoms.tie(groups)
    trace.atoms.unite(groups[:, 0], keys)
    trace.atoms.unite(groups[:, 0], values)
    return True


def has_state(node: ir.Node, inputs: range) -> bool:
    """Whether a node reads keys and values of the past, or others read what it has beside its
    first output: the shapes of these are part of the model's interface.
    """
    given = any(node.inputs[index] is not None for index in inputs if index < len(node.inputs))
    return given or any(
        value.uses() or value.is_graph_output() for value in node.outputs[1:] if value.name
    )


def mask_follows(node: ir.Node, index: int, heads: IntArray, trace: Trace) -> bool:
    """Let what is added to the scores, (.., heads or 1, length, length), follow the heads.

    A constant with an entry a head is cut, channels on its axis of heads are joined. False where
    it has an entry a head that is computed otherwise.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return True
    shape = constants.shape(value) or trace.shape(value)
    if shape is None:
        return False
    if len(shape) < 3 or shape[-3] == 1:
        return trace.at(node, index) is None
    axis, found = len(shape) - 3, trace.at(node, index)
    if found is not None:
        own = heads_of(trace, value, axis, len(heads))
        if own is not None:
            trace.atoms.unite(heads, own)
        return own is not None
    if constants.tensor(value) is None or shape[axis] != len(heads):
        return False
    trace.slice(node, index, axis, Channels(axis, heads))
    return True


def spread(heads: IntArray, size: int) -> Channels:
    """Heads side by side on the last of three axes, each of ``size`` channels."""
    return Channels(2, np.repeat(heads, size))
