"""The layers of a model and of its result, as far as their graphs tell."""

from __future__ import annotations

from nmcore.pipeline.result import Result
from nmcore.plugins.capabilities import Layered
from nmcore.report.layers import LayerReport, Times, layer_reports


def layers_of(result: Result, times: tuple[Times, Times] = ({}, {})) -> tuple[LayerReport, ...]:
    """Each layer before and after; see :func:`nmcore.report.layers.layer_reports`."""
    graph = (result.unconverted or result).graph
    original = None if result.original is None else result.original.graph
    if not isinstance(graph, Layered) or not isinstance(original, Layered):
        return ()
    return layer_reports(original.layers(), graph.layers(), times)
