"""What a file holds is taken over, or told."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import nmcore
from chain import Chain
from nmcore.errors import ModelError


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


class TestLinks:
    """Caches of model hubs: names are symbolic links to files in one folder."""

    @pytest.fixture
    def cache(self, tmp_path):
        blobs, names = tmp_path / "blobs", tmp_path / "snapshots" / "1"
        blobs.mkdir()
        names.mkdir(parents=True)
        model = Chain().conv(16).node("Relu").conv(12).node("Relu").conv(4).build()
        onnx.save(
            model,
            blobs / "model.onnx",
            save_as_external_data=True,
            location="model.onnx.data",
            size_threshold=100,
        )
        for name, digest in (("model.onnx", "a0"), ("model.onnx.data", "b1")):
            (blobs / name).rename(blobs / digest)
            (names / name).symlink_to(f"../../blobs/{digest}")
        return names / "model.onnx"

    def test_data_beside_the_target_is_found(self, cache, tmp_path):
        result = nmcore.compress(cache, ratio=0.5, method="merge", verify=True)
        assert [len(o.plan.kept) for o in result.outcomes] == [8, 6]
        result.save(tmp_path / "small.onnx")
        onnx.checker.check_model(str(tmp_path / "small.onnx"), full_check=True)
        assert {path.name for path in result.graph.data_files()} == {"b1"}

    def test_data_elsewhere_is_refused(self, cache, tmp_path):
        data = cache.with_name("model.onnx.data")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_bytes(data.read_bytes())
        data.unlink()
        data.symlink_to(elsewhere)
        with pytest.raises(ModelError, match="is outside the model's folder"):
            nmcore.compress(cache, method="merge")

    def test_a_link_to_the_data_alone_is_refused(self, cache, tmp_path):
        plain = tmp_path / "plain"
        plain.mkdir()
        (plain / "model.onnx").write_bytes(cache.read_bytes())
        (plain / "model.onnx.data").symlink_to(cache.with_name("model.onnx.data").resolve())
        with pytest.raises(ModelError, match="is outside the model's folder"):
            nmcore.compress(plain / "model.onnx", method="merge")
