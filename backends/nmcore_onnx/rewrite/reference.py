"""The full-width twin of a compressed model: the proof that cutting changed nothing else.

Before each consumer of the *original* graph one linear map rebuilds the removed channels from the
kept ones through Z. Its outputs must equal those of the compressed model, which reaches them by
another way: absorbed weights and sliced tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from nmcore.group import FloatArray, Scaling
from nmcore_onnx.ir import defaults
from nmcore_onnx.rewrite.model_copy import Copy
from nmcore_onnx.trace import operators
from nmcore_onnx.trace.groups import TracedGroup
from nmcore_onnx.trace.slots import ConsumerSlot


def rebuild(copy: Copy, pairs: Sequence[tuple[TracedGroup, Scaling]]) -> ir.Model:
    """Let every consumer in a copy of the original read its channels rebuilt through Z."""
    inputs = defaults.unlist(copy.model)
    for number, (traced, scaling) in enumerate(pairs):
        readers = [twin for slot in traced.consumers for twin in slot.all]
        for index, slot in enumerate(readers):
            matrix, tag = _map(traced, slot, scaling), f"{number}.{index}"
            operators.weighted(slot.node).rebuild(copy.node(slot.node), slot, matrix, tag)
    defaults.relist(copy.model, inputs)
    return copy.model


def _map(traced: TracedGroup, slot: ConsumerSlot, scaling: Scaling) -> FloatArray:
    """The (L, L) matrix that turns the consumer's input row into the rebuilt one."""
    owned = traced.positions(slot.atoms) + slot.start
    matrix = np.eye(len(slot.source_atoms))
    for tap in range(owned.shape[1]):
        matrix[np.ix_(owned[:, tap], owned[:, tap])] = 0
        matrix[np.ix_(owned[scaling.kept, tap], owned[:, tap])] = scaling.Z
    return matrix
