"""Means over channels: the weights of those that are left make up for those that go."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain, run
from nmcore_onnx import backend
from proving import prove, reasons, widths


def global_response(chain, positions, channels):
    """The norm of ConvNeXt V2: x + beta + gamma x norm(x) / mean of the norms of all channels."""
    value, width = chain.value, chain.width
    shape = [1] * 4
    shape[channels] = width
    norm = chain.node("ReduceL2", axes=positions).value
    mean = chain.node("ReduceMean", axes=[channels]).node("Add", np.float32(1e-6)).value
    chain.raw("Div", norm, mean)
    chain.raw("Mul", value, chain.value)
    chain.node("Mul", chain.weight(width, 1).reshape(shape))
    chain.node("Add", chain.weight(width, 1).reshape(shape))
    return chain.raw("Add", value, chain.value)


def first(chain):
    return chain.conv(12, 1).node("Relu")


@pytest.mark.parametrize("last", [False, True])
def test_a_global_response_norm(last):
    chain = first(Chain())
    if last:
        chain.node("Transpose", perm=[0, 2, 3, 1])
        global_response(chain, [1, 2], 3).matmul(4)
    else:
        global_response(chain, [2, 3], 1).conv(4)
    prove(chain.build(), {"conv1": 12})


def layer_norm(chain):
    """A norm over the last axis, written out."""
    value = chain.value
    mean = chain.node("ReduceMean", axes=[-1]).value
    centred = chain.raw("Sub", value, mean).value
    chain.node("Pow", np.float32(2)).node("ReduceMean", axes=[-1])
    chain.node("Add", np.float32(1e-5)).node("Sqrt")
    chain.raw("Div", centred, chain.value)
    chain.node("Mul", 1 + chain.weight(chain.width, 1)[:, 0])
    return chain.node("Add", chain.weight(chain.width, 1)[:, 0])


def test_a_norm_of_a_hidden_layer_that_is_written_out():
    chain = Chain(("n", 6)).gemm(16)
    prove(layer_norm(chain).node("Relu").gemm(5).build(), {"gemm1": 16})


def test_a_residual_stream_stays():
    chain = Chain(("n", 6)).gemm(16)
    stream = chain.value
    layer_norm(chain).gemm(16)
    chain.raw("Add", stream, chain.value)
    layer_norm(chain)
    assert "takes their mean" in reasons(chain.gemm(5).build())["gemm1"]


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum"])
@pytest.mark.parametrize("opset", [11, 17])
def test_sums_that_drop_the_axis(op, opset):
    chain = Chain(opset=opset).conv(8).node("Sigmoid")
    value = chain.value
    if op == "ReduceSum" and opset > 11:
        total = chain.node(op, np.array([1]), keepdims=0).value
    else:
        total = chain.node(op, axes=[1], keepdims=0).value
    chain.node("Unsqueeze", *([np.array([1])] if opset > 11 else []), **axes(opset))
    assert total
    chain.raw("Mul", value, chain.value)
    prove(chain.conv(4).build(), {"conv1": 8})


def axes(opset):
    return {"axes": [1]} if opset == 11 else {}


def test_twins_lose_nothing(tmp_path):
    chain = Chain().conv(8, 1)
    weight, bias = (onnx.numpy_helper.to_array(each).copy() for each in chain.initializers)
    for array in (weight, bias):
        array[4:] = array[:4] / 4
    for tensor, array in zip(chain.initializers, (weight, bias), strict=True):
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    value = chain.node("Relu").value
    mean = chain.node("ReduceL2", axes=[2, 3]).node("ReduceMean", axes=[1]).value
    chain.raw("Div", value, mean).conv(3)
    model = chain.build()
    result = nmcore.compress(
        model,
        ratio=0.5,
        method="merge",
        criterion="l1",
        threshold=0.9,
        verify=True,
        providers=("cpu",),
    )
    assert [group.kept for group in result.report.groups] == [4]
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    (before,) = run(model, {"input": x})
    result.save(tmp_path / "small.onnx")
    (after,) = run((tmp_path / "small.onnx").read_bytes(), {"input": x})
    assert np.allclose(before, after, atol=1e-5)


def test_what_is_not_cut_stays_a_mean():
    chain = Chain().conv(8).node("Sigmoid")
    value = chain.value
    mean = chain.node("ReduceMean", axes=[1]).value
    model = chain.raw("Mul", value, mean).build()
    assert widths(model) == {}
    graph = backend.open(model)
    assert [node.op_type for node in graph.result().graph] == [
        "Conv",
        "Sigmoid",
        "ReduceMean",
        "Mul",
    ]


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum"])
def test_a_layer_that_is_kept_keeps_its_mean(op, kept, opset, tmp_path):
    chain = Chain(opset=opset).conv(8).node("Sigmoid")
    value = chain.value
    if opset > 11:
        chain.node(op, np.array([1]), keepdims=kept)
    else:
        chain.node(op, axes=[1], keepdims=kept)
    if not kept:
        chain.node("Unsqueeze", *([np.array([1])] if opset > 11 else []), **axes(opset))
    chain.raw("Mul", value, chain.value).conv(8).conv(4)
    model = chain.build()
    assert widths(model) == {"conv1": 8, "conv2": 8}
    result = nmcore.compress(model, only=["conv2"], method="prune", verify=True, providers=("cpu",))
    path = result.save(tmp_path / "small.onnx") or tmp_path / "small.onnx"
    found = onnx.load(path).graph
    assert [node.op_type for node in found.node] == [node.op_type for node in model.graph.node]
    assert [node.name for node in found.node] == [node.name for node in model.graph.node]
    assert len(found.initializer) == len(model.graph.initializer)


def test_the_cost_before_counts_no_weights_of_means():
    model = global_response(first(Chain()), [2, 3], 1).conv(4).build()
    sizes = [onnx.numpy_helper.to_array(each).size for each in model.graph.initializer]
    assert backend.open(model).cost().params == sum(sizes)
    assert all(
        place.op != "Conv" or place.node != "reducemean1" for place in backend.open(model).declined
    )


def test_a_half_precision_model_is_left_alone():
    chain = Chain(dtype=np.float16)
    chain.conv(8).node("ReduceMax", axes=[2, 3]).node("Relu")
    value = chain.value
    mean = chain.node("ReduceMean", axes=[1]).value
    chain.raw("Div", value, mean)
    assert "takes their mean" in reasons(chain.conv(4, 1).build())["conv1"]


def test_a_norm_of_a_layer_that_a_mask_multiplies_later_on():
    """The mask's weight has the same channels, but makes nothing of what is summed."""
    chain = Chain(("n", 6)).gemm(16)
    masked = chain.value
    layer_norm(chain).gemm(12).node("Relu").gemm(16).node("Sigmoid")
    chain.raw("Mul", masked, chain.value).gemm(5)
    prove(chain.build(), {"gemm1": 16, "gemm2": 12})
