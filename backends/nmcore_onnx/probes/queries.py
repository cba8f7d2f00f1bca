"""Probes of queries and keys: sums over what their projections give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.probes.cuts import Resumed, begin
from nmcore_onnx.probes.padding import without_padding
from nmcore_onnx.rewrite.model_copy import Copy


@dataclass(frozen=True, eq=False)
class Projected:
    """The queries or the keys of one attention.

    Attributes
    ----------
    value : ir.Value
        The projection, (..., width) with heads side by side, in the original graph.
    width : int
        How many columns it has now.
    step : int
        Every how many-th row counts.
    mask : str or None
        The input whose zeros mark the rows that do not count.
    """

    value: ir.Value
    width: int
    step: int
    mask: str | None = None


def probe(copy: Copy, projected: Sequence[Projected], start: Sequence[Resumed] = ()) -> ir.Model:
    """Turn a copy of a model into a graph that gives sums over projections.

    Parameters
    ----------
    copy : Copy
        The model as it stands; it becomes the probe.
    projected : sequence of Projected
        What to form moments of.
    start : sequence of Resumed
        Values that are read instead of computed.

    Returns
    -------
    ir.Model
        For each projection ``count`` (1,), ``mean_x`` (F,) and ``scatter_x`` (F, F).
    """
    graph = copy.model.graph
    inputs = {value.name: value for value in graph.inputs}
    begin(graph, copy, start)
    build = Builder(graph)
    outputs: list[ir.Value] = []
    for each in projected:
        rows = build.node("Reshape", copy.value(each.value), build.ints(-1, each.width))
        rows = build.node("Cast", rows, to=int(ir.DataType.FLOAT))
        rows = without_padding(
            build, inputs.get(each.mask), build.every(rows, each.step), each.step
        )
        mean, rows = build.centred(rows)
        outputs += [build.count(rows), mean, build.gram(rows, each.width)]
    for value in outputs:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    RemoveUnusedNodesPass()(copy.model)
    return copy.model
