"""Inputs to judge on."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from nmcore.evaluation.inputs import synthetic_data
from nmcore.plugins import registry


def test_several_inputs_are_no_copies_of_each_other():
    """Two pictures that are compared, as by a stereo network, are two."""
    shape, kind = (1, 3, 32, 32), TensorProto.FLOAT
    node = helper.make_node("Sub", ["left", "right"], ["y"], "sub")
    graph = helper.make_graph(
        [node],
        "stereo",
        [helper.make_tensor_value_info(name, kind, shape) for name in ("left", "right")],
        [helper.make_tensor_value_info("y", kind, shape)],
    )
    opsets = [helper.make_opsetid("", 17)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = registry.runtime().session(model.SerializeToString(), providers=("cpu",))
    data = synthetic_data(session, 4, seed=3)
    pictures = [each for x in data.arrays.values() for each in x]
    assert len(pictures) == 8
    for number, one in enumerate(pictures):
        assert not any(np.array_equal(one, other) for other in pictures[number + 1 :])
