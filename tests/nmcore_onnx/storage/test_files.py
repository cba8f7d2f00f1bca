"""What a file holds is taken over, or told."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import nmcore
from chain import Chain


def trained():
    model = Chain().conv(8).node("Relu").conv(4).build()
    info = model.training_info.add()
    one = numpy_helper.from_array(np.ones(1, "f4"), "one")
    info.algorithm.CopyFrom(
        helper.make_graph(
            [helper.make_node("Add", ["one", "one"], ["two"])],
            "step",
            [],
            [helper.make_tensor_value_info("two", TensorProto.FLOAT, [1])],
            [one],
        )
    )
    return model


def test_training_info_is_told(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(trained().SerializeToString())
    for model in (trained(), path):
        result = nmcore.compress(model, ratio=0.5, method="merge")
        (warning,) = result.warnings
        assert warning.startswith("the model's training_info (how it is trained further) was left")
        assert result.report.warnings == (warning,)
