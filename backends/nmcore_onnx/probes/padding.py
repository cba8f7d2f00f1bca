"""Rows of padding, which probes leave out: positions where a mask among the inputs is 0."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.types import Shapes


def has_positions_of(mask: ir.Value, data: ir.Value, shapes: Shapes, assumed: Shapes) -> bool:
    """Whether what a consumer reads, (batch, positions, features), has the positions of a mask.

    Parameters
    ----------
    mask : ir.Value
        An input (batch, positions).
    data : ir.Value
        What the consumer reads.
    shapes, assumed : mapping of value name to shape
        As far as they are known, and with usual sizes for the axes that the inputs leave open.
    """
    found = [(each.get(mask.name or ""), each.get(data.name or "")) for each in (shapes, assumed)]
    (known_mask, known_data), (full_mask, full_data) = found
    if not (known_mask and known_data and full_mask and full_data):
        return False
    if len(known_mask) != 2 or len(known_data) != 3 or full_mask != full_data[:2]:
        return False
    # An axis of a fixed length is no open one, of whatever size that is assumed to be.
    return all(
        isinstance(one, int) == isinstance(other, int)
        for one, other in zip(known_mask, known_data, strict=False)
    )


def without_padding(build: Builder, mask: ir.Value | None, rows: ir.Value, step: int) -> ir.Value:
    """Those of every ``step``-th row (n, F) that the mask counts; all without a mask."""
    if mask is None:
        return rows
    counts = build.every(build.node("Reshape", mask, build.ints(-1)), step)
    counts = build.node("Cast", counts, to=int(ir.DataType.BOOL))
    return build.node("Compress", rows, counts, axis=0)
