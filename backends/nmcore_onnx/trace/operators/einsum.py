"""Einsum: counted; its channels stay."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.trace.context import Trace
from nmcore_onnx.trace.operators.base import Known, Unsupported, elements


class Einsum(Unsupported):
    """A sum of products over named indices."""

    op_type = "Einsum"
    reason = "which is not supported yet"

    def follow(self, node: ir.Node, trace: Trace) -> None:
        """Decline; the node itself is listed where it has a weight."""
        trace.decline_inputs(node, self.reason)
        if any(map(constants.is_float, node.inputs)):
            trace.leave(node, self.reason)

    def macs(self, node: ir.Node, inputs: Sequence[Known], output: Known) -> int:
        """Every combination of the indices is one product: all their lengths, each index once.

        Terms that are alone multiply nothing.
        """
        terms = node.attributes["equation"].as_string().replace(" ", "").split("->")[0].split(",")
        lengths: dict[str | int, int] = {}
        for term, shape in zip(terms, inputs, strict=True):
            if shape is None:
                raise TypeError("a factor whose shape is not known")
            for index, dim in zip(_indices(term, len(shape)), shape, strict=True):
                # Only axes behind an ellipsis may differ, by a length of 1 that is stretched.
                lengths[index] = max(lengths.get(index, 1), elements((dim,)))
        return math.prod(lengths.values()) if len(terms) > 1 else 0


def _indices(term: str, rank: int) -> list[str | int]:
    """The index of every axis; those behind an ellipsis are counted from its end."""
    before, dots, behind = term.partition("...")
    hidden = range(rank - len(before) - len(behind), 0, -1) if dots else ()
    return [*before, *hidden, *behind]
