"""Models that always take the same branches: what inputs do not reach can be run too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from nmcore_onnx.ir import constants, defaults, names
from nmcore_onnx.ir.bodies import bodies
from nmcore_onnx.ir.constants import Place

# What Ifs are told, by whether they stand inside an even or an odd number of others.
_FLAT = ((True, True), (False, False))
_NESTED = (*_FLAT, (True, False), (False, True))


def forced(model: ir.Model) -> Iterator[ir.Model]:
    """The same model with each way of deciding all Ifs; nothing where there are none."""
    depths = [depth for _, depth in _ifs(model.graph)]
    if not depths:
        return
    for told in _NESTED if max(depths) else _FLAT:
        copy = model.clone()
        names.adopt(copy.graph)
        inputs = defaults.unlist(copy)
        for node, depth in list(_ifs(copy.graph)):
            constants.insert(Place(node, 0), "nmcore.decided", np.array(told[depth % 2]))
        defaults.relist(copy, inputs)
        yield copy


def _ifs(graph: ir.Graph, depth: int = 0) -> Iterator[tuple[ir.Node, int]]:
    """Every If, and inside how many others it stands."""
    for node in graph:
        is_if = node.op_type == "If" and bool(bodies(node))
        if is_if:
            yield node, depth
        for body in bodies(node):
            yield from _ifs(body, depth + is_if)
