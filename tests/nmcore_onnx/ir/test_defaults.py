"""Initialisers that are inputs too: what a caller may set stays as it is."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

import nmcore
from chain import Chain, run
from nmcore_onnx import backend


def listing(model, *names, ir_version=8):
    """The model with some of its initialisers, or all of them, among the inputs."""
    for tensor in model.graph.initializer:
        if not names or tensor.name in names:
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            model.graph.input.append(info)
    model.ir_version = ir_version
    return model


def gained():
    """A gain a channel, one for all of them, and the size of a Resize."""
    chain = Chain((2, 3, 8, 8)).conv(8, pads=[1] * 4).node("Relu")
    chain.node("Mul", chain.constant(np.ones((8, 1, 1), "f4"), "gain"))
    chain.node("Mul", chain.constant(np.float32(1), "scalar")).conv(8).node("Relu")
    chain.node("Resize", "", "", chain.constant(np.array([2, 8, 12, 12]), "size"))
    return chain.conv(12).node("Relu").node("GlobalAveragePool").node("Flatten").gemm(4).build()


def compressed(model, **options):
    result = nmcore.compress(model, ratio=0.5, method="merge", verify=True, **options)
    proto = ir.to_proto(result.model)
    onnx.checker.check_model(proto, full_check=True)
    return result, proto


def test_what_a_caller_may_set_stays_and_goes_on_working():
    model = listing(gained(), "gain", "scalar", "size")
    result, small = compressed(model)
    assert [o.plan.name for o in result.outcomes] == ["conv3"]
    assert [(i.name, i.type) for i in small.graph.input] == [
        (i.name, i.type) for i in model.graph.input
    ]
    reasons = {each.node: each.reason for each in result.declined}
    assert "'gain' is an input that a caller may set" in reasons["conv1"]
    assert "'size' is an input that a caller may set" in reasons["conv2"]
    assert not result.warnings
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("f4")
    feeds = {
        "input": x,
        "gain": np.linspace(0.5, 2, 8, dtype="f4").reshape(8, 1, 1),
        "scalar": np.array(3, "f4"),
        "size": np.array([2, 8, 14, 14]),
    }
    whole, part = run(model, feeds)[0], run(small, feeds)[0]
    assert whole.shape == part.shape
    assert not np.allclose(whole, run(model, {"input": x})[0])


@pytest.mark.parametrize("name", ["constant_0", "constant_1"])
def test_a_weight_or_a_bias_that_a_caller_may_set(name):
    """conv2 reads what the weight makes; conv2's own channels can go."""
    model = Chain().conv(8).node("Relu").conv(8).node("Relu").conv(4).build()
    graph = backend.open(listing(model, name))
    assert [group.name for group in graph.groups] == ["conv2"]
    (reason,) = [each.reason for each in graph.declined if each.node == "conv1"]
    assert (
        reason
        == f"its {'weight' if name.endswith('0') else 'bias'} is an input that a caller may set"
    )


def test_the_cost_is_that_of_the_defaults():
    assert backend.open(listing(gained(), "size")).cost() == backend.open(gained()).cost()


@pytest.mark.parametrize("ir_version", [3, 4, 8])
def test_where_every_weight_is_listed_new_shapes_are_told(ir_version):
    model = Chain(opset=8).conv(8).node("Relu").conv(8).node("Relu").conv(4).build()
    order = [t.name for t in model.graph.initializer]
    result, small = compressed(listing(model, ir_version=ir_version))
    assert [len(o.plan.kept) for o in result.outcomes] == [4, 4]
    assert [value.name for value in small.graph.input] == ["input", *order]
    (warning,) = result.warnings
    assert warning.startswith("5 weights that the model lists as inputs changed in shape")
    assert "'constant_0' first" in warning


@pytest.mark.parametrize("ir_version", [3, 8])
def test_a_shared_constant_that_comes_apart(ir_version):
    chain = Chain(opset=8).conv(8)
    slope = chain.constant(np.full((8, 1, 1), 0.1, "f4"), "slope")
    chain.node("PRelu", slope).conv(8).node("PRelu", slope).conv(4)
    _, small = compressed(listing(chain.build(), ir_version=ir_version), keep={"conv1": 3})
    names = [value.name for value in small.graph.input]
    assert names[0] == "input"
    assert len(set(names)) == len(names)
    initialisers = {tensor.name for tensor in small.graph.initializer}
    assert initialisers >= set(names[1:])
    assert ir_version > 3 or initialisers == set(names[1:])
    used = {name for node in small.graph.node for name in node.input}
    assert initialisers <= used


def test_the_callers_own_object_stays_as_it_is():
    model = ir.from_proto(listing(gained(), "gain"))
    backend.open(model)
    assert not any(value.meta for value in model.graph.inputs)
