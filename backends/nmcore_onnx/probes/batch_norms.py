"""Batch norms on the statistics of the batch: synthetic inputs have others than the training set.

With them, every value behind a batch norm has the mean and variance that the network was trained
with, whatever the inputs look like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from nmcore.group import FloatArray
from nmcore_onnx.ir import constants
from nmcore_onnx.ir.builder import Builder
from nmcore_onnx.ir.constants import Place
from nmcore_onnx.ir.nodes import attribute
from nmcore_onnx.ir.types import Shapes
from nmcore_onnx.rewrite.model_copy import Copy


def batch_norms(graph: ir.Graph, shapes: Shapes) -> list[ir.Node]:
    """The batch norms of a graph whose statistics are constant and whose input's rank is known."""
    return [
        node
        for node in graph
        if node.op_type == "BatchNormalization"
        and shapes.get(node.inputs[0].name or "" if node.inputs[0] else "") is not None
        and all(constants.is_float(value) for value in node.inputs[1:5])
    ]


def probe(copy: Copy, nodes: Sequence[ir.Node], shapes: Shapes) -> ir.Model:
    """Turn a copy of a model into one that gives the mean and variance at each batch norm's input.

    Each normalises with the statistics of the batch on the way, so those behind it see what they
    would in training.
    """
    graph = copy.model.graph
    graph.outputs.clear()
    build = Builder(graph)
    outputs: list[ir.Value] = []
    for original in nodes:
        node = copy.node(original)
        rank = len(shapes[original.inputs[0].name or ""]) if original.inputs[0] else 0
        build.before(node)
        mean, var, normed = _normalise(build, node, rank)
        ir.convenience.replace_all_uses_with(node.outputs[0], normed)
        outputs += [mean, var]
    for value in outputs:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.extend(outputs)
    RemoveUnusedNodesPass()(copy.model)
    return copy.model


def _normalise(build: Builder, node: ir.Node, rank: int) -> tuple[ir.Value, ir.Value, ir.Value]:
    value, shape = node.inputs[0], constants.shape(node.inputs[1])
    assert value is not None
    assert shape is not None
    width = math.prod(shape)
    rows = build.rows(value, 1, rank, width)
    count = build.count(rows)
    mean = build.node("Div", build.total(rows), count)
    centred = build.node("Sub", rows, mean)
    var = build.node("Div", build.total(build.node("Mul", centred, centred)), count)
    gamma, beta = (constants.array(node.inputs[index]) for index in (1, 2))
    assert gamma is not None
    assert beta is not None
    eps = build.constant(np.float32(attribute(node, "epsilon", 1e-5)))
    deviation = build.node("Sqrt", build.node("Add", var, eps))
    scale = build.node("Div", build.constant(gamma.astype(np.float32)), deviation)
    shift = build.node(
        "Sub", build.constant(beta.astype(np.float32)), build.node("Mul", mean, scale)
    )
    column = build.ints(1, width, *([1] * (rank - 2)))
    data = build.node("Cast", value, to=int(ir.DataType.FLOAT))
    scaled = build.node("Mul", data, build.node("Reshape", scale, column))
    normed = build.node("Add", scaled, build.node("Reshape", shift, column))
    scale_tensor = constants.tensor(node.inputs[1])
    assert scale_tensor is not None
    kind = scale_tensor.dtype if value.dtype is None else value.dtype
    return mean, var, build.node("Cast", normed, to=int(kind))


def overrides(
    nodes: Sequence[ir.Node], statistics: Sequence[FloatArray]
) -> dict[Place, FloatArray]:
    """Running means and variances to use instead, by the place that reads them."""
    found = {}
    for node, mean, var in zip(nodes, statistics[::2], statistics[1::2], strict=True):
        found[Place(node, 3)] = mean.reshape(-1)
        found[Place(node, 4)] = var.reshape(-1)
    return found
