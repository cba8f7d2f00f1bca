"""Models whose weights lie in files of their own, and results that are written so."""

from __future__ import annotations

import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import external_data_helper, numpy_helper

import nmcore
from chain import Chain, run
from nmcore.errors import ArgumentError, ModelError
from nmcore.plugins import registry
from nmcore_onnx.rewrite import rewrite
from nmcore_onnx.storage import disk_cache, files
from random_graphs import generate


@pytest.fixture
def proto() -> onnx.ModelProto:
    """Weights of 8, 36 and 18 KB; the last two nodes are left as they are."""
    chain = Chain(("n", 32)).gemm(64).node("Relu").gemm(144).node("Relu").gemm(32)
    return chain.node("Softmax").build()


@pytest.fixture
def path(proto, tmp_path):
    """The model with its weights in a file beside it."""
    folder = tmp_path / "in"
    folder.mkdir()
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)  # which onnx empties
    onnx.save(copy, folder / "model.onnx", save_as_external_data=True, location="weights.bin")
    return folder / "model.onnx"


def compress(model, **options):
    return nmcore.compress(model, **{"ratio": 0.5, "method": "merge", **options})


def content(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def data_names(path) -> set[str]:
    model = onnx.load(path, load_external_data=False)
    return {
        external_data_helper.ExternalDataInfo(tensor).location
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }


@pytest.mark.parametrize("external_data", [True, False, None])
def test_the_result_is_the_same_wherever_the_weights_lie(proto, path, tmp_path, external_data):
    before, wanted = content(path.parent), compress(proto).graph.serialize()
    result = compress(path, verify=True)
    assert result.graph.serialize() == wanted
    result.save(tmp_path / "small.onnx", external_data=external_data)
    shutil.rmtree(path.parent)  # nothing of the result may be there
    onnx.checker.check_model(tmp_path / "small.onnx", full_check=True)
    found = onnx.load(tmp_path / "small.onnx")
    x = np.random.default_rng(0).standard_normal((2, 32)).astype(np.float32)
    np.testing.assert_array_equal(run(found, {"input": x}), run(wanted, {"input": x}))
    for got, want in zip(
        found.graph.initializer, onnx.load_from_string(wanted).graph.initializer, strict=True
    ):
        np.testing.assert_array_equal(numpy_helper.to_array(got), numpy_helper.to_array(want))
    names = data_names(tmp_path / "small.onnx")
    assert len(names) == bool(external_data)
    assert set(os.listdir(tmp_path)) == {"small.onnx", *names}
    assert before.keys() == {"model.onnx", "weights.bin"}


def test_moments_of_a_model_with_external_data(proto, path):
    options = {"method": "moments", "samples": 8, "providers": ("cpu",)}
    wanted = compress(proto, **options).graph.serialize()
    assert compress(path, **options).graph.serialize() == wanted


def test_the_input_is_never_written_to(path):
    """Not even where the result takes its place."""
    before = content(path.parent)
    result = compress(path)
    for external_data in (True, True, False):
        result.save(path, external_data=external_data)
        after = content(path.parent)
        assert after["weights.bin"] == before["weights.bin"]
        assert data_names(path) <= set(after) - {"weights.bin"}
        assert len(after) == 2 + external_data
    assert result.graph.serialize() == after["model.onnx"]


def test_an_input_that_was_written_by_nmcore_itself(path, tmp_path):
    """Its data file has a name as that of the result would have."""
    first = tmp_path / "first.onnx"
    compress(path, ratio=0.25).save(first, external_data=True)
    (old,) = data_names(first)
    held = (tmp_path / old).read_bytes()
    again = compress(first, ratio=0.5)
    again.save(first, external_data=True)
    assert (tmp_path / old).read_bytes() == held
    (new,) = data_names(first)
    assert new != old
    again.save(first, external_data=True)  # reads the old one a second time
    compress(path).save(first)  # belongs to nobody any more
    assert {p for p in os.listdir(tmp_path) if p.endswith(".data")} == set()


def test_the_same_content_has_the_same_name(path, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        compress(path).save(tmp_path / folder / "small.onnx", external_data=True)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    compress(path, ratio=0.25).save(tmp_path / "a" / "small.onnx", external_data=True)
    assert content(tmp_path / "a").keys() != content(tmp_path / "b").keys()
    assert len(os.listdir(tmp_path / "a")) == 2


def test_other_files_with_similar_names_stay(path, tmp_path):
    others = ["small.onnx.data", "small.onnx.0123456789ab.dat", "small_onnx.0123456789ab.data"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    for external_data in (True, False):
        compress(path).save(tmp_path / "small.onnx", external_data=external_data)
    assert all((tmp_path / name).read_bytes() == b"mine" for name in others)


def test_what_one_file_cannot_hold_is_divided(path, tmp_path, monkeypatch):
    result = compress(path, ratio=0.0)
    monkeypatch.setattr(files, "_MAX_BYTES", 10_000)
    with pytest.raises(ModelError, match="more than protobuf takes at once"):
        result.graph.serialize()
    result.save(tmp_path / "small.onnx")
    assert len(data_names(tmp_path / "small.onnx")) == 1
    assert abs(result.graph.size() - files.weight_bytes(result.model)) < 5_000
    assert result.report.to_dict()["after"]["bytes"] == result.graph.size()
    with result.draft(tmp_path / "other.onnx") as draft:
        registry.runtime().session(draft.path, providers=("cpu",))
    assert not (tmp_path / "other.onnx").exists()


def test_weights_beyond_memory_go_to_disk_and_back(proto, path, monkeypatch):
    wanted = [compress(proto, method=m).graph.serialize() for m in ("merge", "prune", "ridge")]
    monkeypatch.setattr(rewrite, "LARGE", 0)
    monkeypatch.setattr(disk_cache, "MEMORY", 0)
    found = [compress(path, method=m).graph.serialize() for m in ("merge", "prune", "ridge")]
    assert found == wanted


@pytest.mark.parametrize("seed", range(20))
def test_large_weights_are_folded_alike(seed, monkeypatch):
    """Where they are computed when they are written, in whatever way they are read."""
    model = generate(seed).model
    wanted = compress(model).graph.serialize()
    monkeypatch.setattr(rewrite, "LARGE", 0)
    assert compress(model).graph.serialize() == wanted


@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.3}, {"transB": 0}])
def test_nothing_is_kept_of_large_folded_weights(attributes, monkeypatch):
    chain = Chain(("n", 32)).gemm(64).node("Relu").gemm(144, **attributes).node("Relu").gemm(32)
    model = chain.build()
    wanted = compress(model).graph.serialize()
    monkeypatch.setattr(rewrite, "LARGE", 0)
    monkeypatch.delattr(disk_cache.DiskCache, "put")
    assert compress(model).graph.serialize() == wanted


def test_nor_of_those_whose_rows_go_first(monkeypatch):
    """The channels of a residual stream come before those that each block has inside."""
    chain = Chain(("n", 32)).gemm(64)
    for _ in range(2):
        stream = chain.value
        chain.node("Relu").gemm(96).node("Relu").gemm(64).raw("Add", stream, chain.value)
    model = chain.node("Relu").gemm(8).build()
    wanted = compress(model, verify=True).graph.serialize()
    monkeypatch.setattr(rewrite, "LARGE", 0)
    monkeypatch.delattr(disk_cache.DiskCache, "put")
    assert compress(model).graph.serialize() == wanted


def test_a_plan_knows_the_data_too(path):
    """The model's own file says nothing of the numbers in its weights."""
    plan = compress(path).plan
    data = bytearray((path.parent / "weights.bin").read_bytes())
    data[2] ^= 1
    (path.parent / "weights.bin").write_bytes(data)
    with pytest.raises(ArgumentError, match=r"the plan was made for .*, not for"):
        compress(path, ratio=None, method="auto", plan=plan)


def test_evaluate_counts_the_files_that_hold_the_weights(path):
    from nmcore.evaluation.evaluate import evaluate

    (found,) = evaluate(path, runs=1, samples=1)
    weights = (path.parent / "weights.bin").stat().st_size
    assert found.bytes == path.stat().st_size + weights > 60_000
