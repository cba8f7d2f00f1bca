"""Whole models through the pipeline: what comes out is valid, smaller and what Z says."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import nmcore
from chain import Chain, initializer, run
from nmcore.arrays.absorption import absorb
from nmcore.errors import VerificationError
from nmcore_onnx import graph
from nmcore_onnx.rewrite import ledger, rewrite


def compress(model, ratio=0.5, **options):
    """Compress, prove, and run once."""
    result = nmcore.compress(model, ratio=ratio, verify=True, **options)
    proto = onnx.load_from_string(result.graph.serialize())
    onnx.checker.check_model(proto, full_check=True)
    return result, proto


def picture(*shape, dtype=np.float32):
    return np.random.default_rng(1).standard_normal(shape or (2, 3, 8, 8)).astype(dtype)


CHAINS = {
    "conv": lambda: Chain().conv(8).node("Relu").conv(4),
    "strides, dilations, pads": lambda: (
        Chain()
        .conv(8, strides=[2, 2], pads=[1] * 4)
        .node("Relu")
        .conv(4, kernel=2, dilations=[2, 2])
    ),
    "1-D": lambda: Chain(("n", 3, 16)).conv(8).node("Relu").conv(4),
    "3-D": lambda: Chain(("n", 3, 6, 6, 6)).conv(8).node("Relu").conv(4),
    "batch norm": lambda: Chain().conv(8).batch_norm().node("Relu").conv(4).batch_norm(),
    "flatten": lambda: Chain().conv(8).node("Relu").node("Flatten").gemm(5, features=8 * 36),
    "flattened by a number": lambda: (
        Chain().conv(8).node("Reshape", np.array([-1, 8 * 36])).gemm(5, features=8 * 36)
    ),
    "pooled": lambda: Chain().conv(8).node("GlobalAveragePool").node("Flatten").gemm(5),
    "channels last": lambda: (
        Chain()
        .conv(8)
        .node("Transpose", perm=[0, 2, 3, 1])
        .node("Flatten")
        .gemm(5, features=8 * 36)
    ),
    "gemm": lambda: Chain(("n", 6)).gemm(10).node("Relu").gemm(4),
    "gemm, not transposed": lambda: (
        Chain(("n", 6)).gemm(10, transB=0).node("Relu").gemm(4, transB=0)
    ),
    "gemm, alpha and beta": lambda: (
        Chain(("n", 6)).gemm(10, alpha=0.5, beta=2.0).node("Relu").gemm(4, alpha=3.0, beta=0.5)
    ),
    "matmul and add": lambda: Chain(("n", 6)).matmul(10).node("Relu").matmul(4),
    "matmul on sequences": lambda: Chain(("n", 5, 6)),
    "depthwise": lambda: (
        Chain().conv(8, 1).node("Relu").conv(8, group=8).batch_norm().node("Relu").conv(4, 1)
    ),
    "depthwise, two filters a channel": lambda: (
        Chain().conv(8, 1).node("Relu").conv(16, group=8).node("Relu").conv(4, 1)
    ),
    "prelu": lambda: (
        Chain().conv(8).node("PRelu", np.linspace(0, 1, 8, dtype="f4").reshape(8, 1, 1)).conv(4)
    ),
    "scaled and shifted": lambda: (
        Chain()
        .conv(8)
        .node("Mul", np.linspace(1, 2, 8, dtype="f4").reshape(1, 8, 1, 1))
        .node("Add", np.linspace(0, 1, 8, dtype="f4").reshape(8, 1, 1))
        .node("Relu")
        .conv(4)
    ),
}


def sequence():
    chain = Chain(("n", 5, 6))
    chain.width = 6
    return chain.matmul(10).node("Relu").matmul(4)


CHAINS["matmul on sequences"] = sequence


@pytest.mark.parametrize("method", ["prune", "merge"])
@pytest.mark.parametrize("name", CHAINS)
def test_result_is_smaller_and_proven(name, method):
    model = CHAINS[name]().build()
    before = model.SerializeToString()
    result, proto = compress(model, method=method)
    assert model.SerializeToString() == before
    assert result.after.params < result.before.params
    assert result.after.macs < result.before.macs
    assert all(len(o.plan.kept) * 2 == o.plan.width for o in result.outcomes)
    assert [i.name for i in proto.graph.input] == ["input"]
    assert [n.name for n in proto.graph.node] == [n.name for n in model.graph.node]
    assert proto.graph.input[0] == model.graph.input[0]
    assert proto.graph.output[0] == model.graph.output[0]


def without_declarations(model):
    """The bytes of a model but for the types of its inner values, which a writer may spell out."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    del copy.graph.value_info[:]
    return copy.SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", CHAINS)
def test_ratio_zero_reproduces_the_model(name):
    model = CHAINS[name]().build()
    _, proto = compress(model, ratio=0.0)
    assert without_declarations(proto) == without_declarations(model)
    shape = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = {"input": picture(*shape)}
    np.testing.assert_array_equal(run(proto, x)[0], run(model, x)[0])


def test_scaled_copies_of_channels_merge_without_loss():
    """Eq. 5 of the paper: rows that differ by a positive factor, and ReLU between."""
    chain = Chain().conv(8).node("Relu").conv(4)
    weight, bias = chain.initializers[0], chain.initializers[1]
    w, b = onnx.numpy_helper.to_array(weight).copy(), onnx.numpy_helper.to_array(bias).copy()
    w[4:], b[4:] = 0.1 * w[:4], 0.1 * b[:4]
    weight.CopyFrom(onnx.numpy_helper.from_array(w, weight.name))
    bias.CopyFrom(onnx.numpy_helper.from_array(b, bias.name))
    model = chain.build()
    result, proto = compress(model, method="merge", criterion="l1")
    assert result.outcomes[0].plan.kept == (0, 1, 2, 3)
    x = {"input": picture()}
    np.testing.assert_allclose(run(proto, x)[0], run(model, x)[0], rtol=1e-4, atol=1e-5)
    _, pruned = compress(model, method="prune", criterion="l1")
    assert np.abs(run(pruned, x)[0] - run(model, x)[0]).max() > 0.1


def test_half_precision_stays_half():
    chain = Chain(dtype=np.float16).conv(8).node("Relu").conv(4)
    _, proto = compress(chain.build(), method="merge")
    kinds = {t.data_type for t in proto.graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT16}


def test_weights_in_constant_nodes():
    chain = Chain().conv(8).node("Relu").conv(4)
    constants = [
        helper.make_node("Constant", [], [tensor.name], f"make_{tensor.name}", value=tensor)
        for tensor in chain.initializers
    ]
    chain.nodes, chain.initializers = constants + chain.nodes, []
    model = chain.build()
    _, proto = compress(model)
    assert [n.name for n in proto.graph.node] == [n.name for n in model.graph.node]
    assert not proto.graph.initializer


def test_initialisers_that_are_also_inputs():
    chain = Chain(opset=8).conv(8).node("Relu").conv(4)
    model = chain.build()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    _, proto = compress(model)
    declared = {
        i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in proto.graph.input
    }
    assert declared["constant_0"] == [4, 3, 3, 3]
    assert declared["constant_2"] == [4, 4, 3, 3]


def test_metadata_and_documentation_survive():
    model = Chain().conv(8).node("Relu").conv(4).build()
    model.doc_string, model.producer_name, model.graph.doc_string = "doc", "maker", "graph doc"
    model.graph.node[0].doc_string = "first"
    model.metadata_props.add(key="author", value="somebody")
    inferred = onnx.shape_inference.infer_shapes(model)
    _, proto = compress(inferred)
    assert (proto.doc_string, proto.producer_name, proto.graph.doc_string) == (
        *("doc", "maker", "graph doc"),
    )
    assert proto.graph.node[0].doc_string == "first"
    assert proto.metadata_props[0].value == "somebody"
    assert list(proto.opset_import) == list(model.opset_import)
    declared = {v.name: v.type.tensor_type.shape.dim for v in proto.graph.value_info}
    assert declared["conv1_out"][1].dim_value == declared["relu1_out"][1].dim_value == 4


def test_shared_per_channel_constant_is_copied_not_broken():
    slope = np.linspace(0, 1, 8, dtype="f4").reshape(8, 1, 1)
    chain = Chain().conv(8)
    name = chain.constant(slope, "slope")
    chain.node("PRelu", name).conv(8).node("PRelu", name).conv(4)
    result, proto = compress(chain.build(), ratio=0.0, keep={"conv1": 2})
    assert initializer(proto, "slope").shape == (8, 1, 1)
    assert [len(o.plan.kept) for o in result.outcomes] == [2, 8]


def test_middle_layer_is_both_consumer_and_producer():
    model = Chain().conv(8).node("Relu").conv(8).node("Relu").conv(4).build()
    _, proto = compress(model, method="merge")
    assert initializer(proto, "constant_2").shape == (4, 4, 3, 3)


@pytest.mark.parametrize("large", [rewrite.LARGE, 0])
def test_verification_catches_a_wrong_weight(monkeypatch, large):
    """Folded at once, or as it is written."""

    def wrong(weight, scaling):
        return 1.01 * absorb(weight, scaling)[0], None

    monkeypatch.setattr(rewrite, "LARGE", large)
    monkeypatch.setattr(graph if large else ledger, "absorb", wrong)
    with pytest.raises(VerificationError, match="differs"):
        compress(Chain().conv(8).node("Relu").conv(4).build(), method="merge")


def test_keep_only_and_exclude():
    model = Chain().conv(8).node("Relu").conv(8).node("Relu").conv(8).build()
    kept = lambda **o: [len(x.plan.kept) for x in nmcore.compress(model, **o).outcomes]  # noqa: E731
    assert kept(ratio=0.5, only=["conv1"]) == [4, 8]
    assert kept(ratio=0.5, exclude=["conv1"]) == [8, 4]
    assert kept(keep={"conv*": 3, "conv2": 5}) == [3, 5]
    assert kept(ratio=0.25, keep={"conv2": 1}) == [6, 1]
    for wrong in ({"keep": {"nothing*": 3}}, {"only": ["conv3"]}, {"keep": {"conv1": 9}}):
        with pytest.raises(nmcore.errors.ArgumentError):
            nmcore.compress(model, **wrong)


@pytest.mark.parametrize("large", [False, True])
def test_weights_beyond_half_precision_are_clipped_and_told(large, monkeypatch):
    """Two equal channels are merged into one that counts twice."""
    if large:
        monkeypatch.setattr("nmcore_onnx.rewrite.rewrite.LARGE", 0)
    chain = Chain(("n", 4), dtype=np.float16)
    chain.width = 4
    model = chain.gemm(6).node("Relu").gemm(3).build()
    first, _, last, *_ = model.graph.initializer
    rows = numpy_helper.to_array(first).copy()
    rows[3:] = rows[:3]
    first.CopyFrom(numpy_helper.from_array(rows, first.name))
    model.graph.initializer[1].CopyFrom(
        numpy_helper.from_array(np.zeros(6, np.float16), model.graph.initializer[1].name)
    )
    last.CopyFrom(numpy_helper.from_array(np.full((3, 6), 40_000, np.float16), last.name))
    keep = {"groups": {"gemm1": [0, 1, 2]}}
    result = nmcore.compress(model, plan=keep, method="merge")
    weights = [each.const_value.numpy() for each in result.model.graph.initializers.values()]
    assert all(np.isfinite(each).all() for each in weights)
    (told,) = (line for line in result.cautions if "half precision" in line)
    assert told.startswith("9 numbers in 1 weights became larger than half precision holds")
