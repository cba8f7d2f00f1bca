"""Test data beside a model, as the ONNX model zoo has it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import nmcore
from chain import Chain
from nmcore.errors import ModelError
from nmcore_onnx.storage.examples import examples

# No size that is tried: a weight mixes so many positions.
SIZE = 35


def model(tmp_path):
    chain = Chain(("n", 3, "length")).conv(8, kernel=1).node("Relu")
    chain.node("MatMul", chain.weight(SIZE, SIZE)).node("GlobalAveragePool").node("Flatten")
    path = tmp_path / "m.onnx"
    onnx.save(chain.gemm(4).build(check=False), path)
    return path


def write(folder, array, name=""):
    folder.mkdir()
    tensor = numpy_helper.from_array(array, name)
    (folder / "input_0.pb").write_bytes(tensor.SerializeToString())


def test_it_is_used_where_nothing_else_runs(tmp_path):
    path = model(tmp_path)
    with pytest.raises(ModelError, match="tried on random inputs"):
        nmcore.compress(path, ratio=0.5, method="moments")
    for number in range(2):
        x = np.random.default_rng(number).standard_normal((1, 3, SIZE)).astype(np.float32)
        write(tmp_path / f"test_data_set_{number}", x)
    result = nmcore.compress(path, ratio=0.5, method="moments", verify=True)
    assert result.data.name == "the test data beside the model"
    assert any("measured on 2 inputs" in line for line in result.cautions)
    assert result.fidelity.n == 2


def test_a_model_that_runs_on_made_inputs_is_measured_on_these(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(Chain().conv(8).node("Relu").conv(4).build(), path)
    write(tmp_path / "test_data_set_0", np.zeros((1, 3, 8, 8), np.float32))
    assert nmcore.compress(path, ratio=0.5, method="merge").data is None


def test_what_does_not_fit_is_left_out(tmp_path):
    path = model(tmp_path)
    write(tmp_path / "test_data_set_0", np.ones((1, 3, SIZE), np.float32), name="input")
    write(tmp_path / "test_data_set_1", np.ones((1, 3, SIZE), np.float32), name="other")
    (tmp_path / "test_data_set_2").mkdir()
    (tmp_path / "test_data_set_2" / "input_0.pb").write_bytes(b"no tensor at all")
    assert [sorted(feeds) for feeds in examples(path, lambda: ["input"])] == [
        ["input"],
        [
            "input",
        ],
    ]
    assert [sorted(feeds) for feeds in examples(path, lambda: ["input", "other"])] == []
