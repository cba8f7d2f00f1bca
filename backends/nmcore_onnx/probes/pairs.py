"""Pairs of fully connected layers, of which one makes all that the other reads."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.probes import moments
from nmcore_onnx.rewrite.model_copy import Copy
from nmcore_onnx.trace import consumers, operators
from nmcore_onnx.trace.groups import TracedGroup
from nmcore_onnx.trace.slots import ConsumerSlot


def is_alone(group: TracedGroup, slot: ConsumerSlot, shapes: Shapes) -> bool:
    """Whether a consumer is a fully connected layer of one row an input, on this group alone."""
    operator = operators.weighted(slot.node)
    output = shapes.get(operator.output(slot.node).name or "")
    return (
        operator.is_dense
        and len(constants.shape(slot.place.value) or ()) == 2
        and output is not None
        and len(output) == 2
        and not slot.twins
        and not consumers.is_partial(group, slot)
    )


def rows(
    current: Copy, original: Copy, maker: moments.Reading, reader: moments.Reading
) -> ir.Model:
    """Turn a copy of a model into one that gives the rows themselves.

    Its outputs are ``features`` (n, F), which ``maker`` reads in ``current``, and ``wanted``
    (n, O), what ``reader`` gives in ``original``, which is used up.
    """
    graph = current.model.graph
    moments.adopt(graph, original.model.graph)
    build = Builder(graph)
    _give(
        current.model,
        moments.features(build, current, maker),
        moments.target(build, current, original, reader),
    )
    return current.model


def between(current: Copy, maker: ir.Node, reader: moments.Reading) -> ir.Model | None:
    """Turn a copy of a model into what lies between two layers.

    Its input are the rows (n, P) that ``maker`` makes, its output those (n, P) that ``reader``
    reads. None where these depend on anything else.
    """
    graph = current.model.graph
    made = ir.Value(
        name="nmcore.made", shape=ir.Shape(["n", None]), type=ir.TensorType(ir.DataType.FLOAT)
    )
    output = operators.weighted(maker).output(maker)
    ir.convenience.replace_all_uses_with(current.value(output), made)
    _give(current.model, moments.features(Builder(graph), current, reader))
    if any(value.uses() for value in graph.inputs):
        return None
    graph.inputs.clear()
    graph.inputs.append(made)
    return current.model


def _give(model: ir.Model, *values: ir.Value) -> None:
    """Make these the outputs."""
    for value in values:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    model.graph.outputs.clear()
    model.graph.outputs.extend(values)
    RemoveUnusedNodesPass()(model)
