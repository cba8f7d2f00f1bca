"""The same network in both branches of an If that its inputs decide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from random_graphs.networks import Sample


def in_branches(sample: Sample) -> Sample:
    """A sample whose network stands twice in an If, whose second branch runs."""
    old = sample.model.graph
    outputs = [value.name for value in old.output]

    def inner(name: str) -> str:
        return f"{name}.inside" if name in outputs else name

    branch = helper.make_graph(
        [_renamed(node, inner) for node in old.node],
        "branch",
        [],
        [helper.make_tensor_value_info(inner(n), _kind(sample, n), None) for n in outputs],
        old.initializer,
    )
    model = onnx.ModelProto()
    model.CopyFrom(sample.model)
    graph = model.graph
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    weights = {tensor.name for tensor in old.initializer}
    given = [value for value in old.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(given)
    graph.initializer.append(numpy_helper.from_array(np.float32(1e30), "branch.bound"))
    graph.node.extend(
        [
            helper.make_node("Cast", [given[0].name], ["branch.floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["branch.floats"], ["branch.largest"], keepdims=0),
            helper.make_node("Greater", ["branch.largest", "branch.bound"], ["branch.which"]),
            helper.make_node(
                *("If", ["branch.which"], outputs, "branch.if"),
                then_branch=branch,
                else_branch=branch,
            ),
        ]
    )
    onnx.checker.check_model(model)
    return replace(sample, model=model, recipe=f"{sample.recipe} in branches")


def _renamed(node: onnx.NodeProto, name: Callable[[str], str]) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    for names in (made.input, made.output):
        names[:] = [name(each) for each in names]
    return made


def _kind(sample: Sample, name: str) -> int:
    (value,) = (each for each in sample.model.graph.output if each.name == name)
    return value.type.tensor_type.elem_type
