"""Models load from files and bytes, run, and fail in one line."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from chain import Chain
from nmcore.errors import ArgumentError, ModelError
from nmcore.plugins.inputs import InputSpec
from nmcore.plugins.protocols import RuntimeBackend
from nmcore_ort import runtime
from nmcore_ort.session import usable_threads

CPU = ("cpu",)


@pytest.fixture
def model():
    return Chain(("n", 3, 4, 4)).conv(5).node("Relu").build()


def with_inputs(*infos):
    graph = helper.make_graph([], "g", list(infos), list(infos))
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, ir_version=8, opset_imports=[opset]).SerializeToString()


def test_it_is_a_runtime():
    assert isinstance(runtime, RuntimeBackend)


def test_a_file_and_its_bytes_run_alike(model, tmp_path):
    onnx.save(model, tmp_path / "m.onnx")
    x = np.ones((2, 3, 4, 4), np.float32)
    (first,) = runtime.session(tmp_path / "m.onnx", providers=CPU).run({"input": x})
    (second,) = runtime.session(model.SerializeToString(), providers=CPU).run({"input": x})
    assert first.shape == (2, 5, 2, 2)
    assert np.array_equal(first, second)


def test_external_data_is_found_beside_the_file(model, tmp_path):
    whole = model.SerializeToString()  # saving moves the weights out of the model itself
    onnx.save(
        model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="w"
    )
    x = np.ones((1, 3, 4, 4), np.float32)
    (outside,) = runtime.session(tmp_path / "m.onnx", providers=CPU).run({"input": x})
    (inside,) = runtime.session(whole, providers=CPU).run({"input": x})
    assert np.array_equal(outside, inside)


def test_what_it_tells_of_itself(model):
    session = runtime.session(model.SerializeToString(), providers=CPU, threads=2)
    assert session.inputs == (InputSpec("input", (None, 3, 4, 4), np.dtype(np.float32)),)
    assert (session.provider, session.threads, session.notice) == ("cpu", 2, None)
    assert runtime.session(model.SerializeToString(), providers=CPU).threads == usable_threads()


def test_thousands_of_threads_are_refused(model):
    """onnxruntime would start them, and never answer."""
    with pytest.raises(ArgumentError, match=r"threads is 9999; this machine can use at most \d+"):
        runtime.session(model.SerializeToString(), providers=CPU, threads=9999)


def test_threads_follow_the_affinity():
    if hasattr(os, "sched_getaffinity"):
        assert usable_threads() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("kind", ["FLOAT16", "DOUBLE", "UINT8", "INT64", "BOOL"])
def test_element_types(kind):
    tensor = getattr(TensorProto, kind)
    info = helper.make_tensor_value_info("x", tensor, ["n", None, 2])
    (spec,) = runtime.session(with_inputs(info), providers=CPU).inputs
    assert spec == InputSpec("x", (None, None, 2), helper.tensor_dtype_to_np_dtype(tensor))


def test_inputs_that_cannot_be_fed_are_named_only_when_asked_for():
    info = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    session = runtime.session(with_inputs(info), providers=CPU)
    with pytest.raises(ModelError, match=r"input 'x' is a seq\(tensor\(float\)\)"):
        _ = session.inputs


@pytest.mark.parametrize("content", [b"", b"hello, I am text", b"\x08\x08truncated"])
def test_what_does_not_load_is_one_line(content, tmp_path, capfd):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="does not load in onnxruntime") as caught:
        runtime.session(path, providers=CPU)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_failing_run_is_one_line(model, capfd):
    session = runtime.session(model.SerializeToString(), providers=CPU)
    with pytest.raises(ModelError, match="the model does not run: ") as caught:
        session.run({"input": np.ones((1, 2, 4, 4), np.float32)})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_an_operator_that_fails_prints_nothing(capfd):
    model = Chain(("n", 4)).node("Reshape", np.array([3, 3])).build(check=False)
    session = runtime.session(model.SerializeToString(), providers=CPU)
    with pytest.raises(ModelError, match="does not run"):
        session.run({"input": np.ones((1, 4), np.float32)})
    assert capfd.readouterr() == ("", "")


def test_an_unknown_provider(model):
    with pytest.raises(ArgumentError, match="provider 'tpu' is not known"):
        runtime.session(model.SerializeToString(), providers=["tpu"])
