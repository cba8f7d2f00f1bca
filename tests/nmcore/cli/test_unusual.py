"""Models with inputs and outputs that few models have: no traceback, and a proven result."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from chain import Chain
from nmcore.plugins import registry


def dense():
    return Chain(("n", 4)).gemm(8).node("Relu").gemm(3)


def declared(chain, *outputs, inputs=()):
    """The model with these outputs, and more inputs."""
    model = chain.build(check=False)
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    model.graph.input.extend(inputs)
    onnx.checker.check_model(model)
    return model


def tensor(name, kind=TensorProto.FLOAT, shape=("n", 3)):
    return helper.make_tensor_value_info(name, kind, shape)


def sequence(name):
    return helper.make_tensor_sequence_value_info(name, TensorProto.FLOAT, None)


def output_is_a_weight_and_an_input():
    chain = dense()
    chain.constant(np.arange(3, dtype="f4"), "constant out")
    passed = tensor("passed", shape=["n", 2])
    return declared(
        chain,
        tensor(chain.value),
        tensor("constant out", shape=[3]),
        tensor("passed", shape=["n", 2]),
        inputs=[passed],
    )


def output_is_a_sequence():
    chain = dense()
    last = chain.value
    return declared(chain.raw("SequenceConstruct", last, last), sequence(chain.value))


def second_output_is_a_sequence():
    chain = dense()
    last = chain.value
    chain.raw("SequenceConstruct", last, last)
    return declared(chain, tensor(last), sequence(chain.value))


def output_is_optional():
    chain = dense()
    chain.raw("Optional", chain.value)
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    return declared(chain, helper.make_value_info(chain.value, kind))


def strings():
    chain = dense()
    names = helper.make_tensor("names", TensorProto.STRING, [3], [b"no", b"yes", b"maybe"])
    chain.initializers.append(names)
    scores = chain.value
    chain.node("ArgMax", axis=1)
    chain.raw("Gather", "names", chain.value)
    return declared(chain, tensor(chain.value, TensorProto.STRING, ["n", 1]), tensor(scores))


def a_map_of_scores():
    """As exporters of scikit-learn write class probabilities."""
    model = dense().node("Softmax").build()
    zip_map = helper.make_node(
        "ZipMap", ["softmax1_out"], ["scores"], domain="ai.onnx.ml", classlabels_int64s=[1, 2, 5]
    )
    model.graph.node.append(zip_map)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    inner = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    )
    kind = helper.make_sequence_type_proto(inner)
    model.graph.output.append(helper.make_value_info("scores", kind))
    return model


def text_passes():
    chain = dense()
    scores = chain.value
    chain.raw("Identity", "text")
    return declared(
        chain,
        tensor(scores),
        tensor(chain.value, TensorProto.STRING, ["n"]),
        inputs=[tensor("text", TensorProto.STRING, ["n"])],
    )


def six_axes():
    return Chain(("n", 1, 2, 2, 2, 2)).node("Flatten").gemm(8, 16).node("Relu").gemm(3).build()


def an_empty_input():
    chain = dense()
    chain.node("Sub", chain.constant(np.float32(0)))
    chain.raw("ReduceSum", chain.value, "axes")
    return declared(chain, tensor(chain.value), inputs=[tensor("axes", TensorProto.INT64, [0])])


def halves_inside():
    chain = Chain()
    chain.node("Cast", to=TensorProto.FLOAT16)
    for width in (16, 12):
        weight = chain.weight(width, chain.width, 3, 3)
        chain.node("Conv", weight.astype(np.float16), pads=[1] * 4).node("Relu")
        chain.width = width
    return chain.node("Cast", to=TensorProto.FLOAT).conv(8).node("Relu").conv(4).build()


UNUSUAL = [
    output_is_a_weight_and_an_input,
    output_is_a_sequence,
    second_output_is_a_sequence,
    output_is_optional,
    strings,
    text_passes,
    a_map_of_scores,
    six_axes,
    an_empty_input,
    halves_inside,
]


@pytest.fixture
def saved(tmp_path):
    def save(model):
        path = tmp_path / "unusual.onnx"
        onnx.save(model, path)
        return path

    return save


@pytest.mark.parametrize("make", UNUSUAL)
def test_it_is_compressed_proven_inspected_and_evaluated(run, saved, tmp_path, make):
    path, out = saved(make()), tmp_path / "small.onnx"
    result = run("compress", path, out, "--verify", "--json", "-q")
    data = json.loads(result.stdout)
    assert data["after"]["params"] < data["before"]["params"]
    before, after = (onnx.load(each) for each in (path, out))
    assert before.graph.input == after.graph.input
    assert before.graph.output == after.graph.output
    run("inspect", path)
    run("evaluate", path, out)


def without_inputs():
    chain = Chain(("n", 4))
    chain.value = chain.constant(np.arange(8, dtype="f4").reshape(2, 4), "given")
    model = chain.gemm(8).node("Relu").gemm(3).build(check=False)
    del model.graph.input[:]
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return model


def without_a_batch():
    return Chain((0, 3, 8, 8)).conv(8).node("Relu").conv(6).node("Relu").conv(4).build()


@pytest.mark.parametrize("make", [without_inputs, without_a_batch])
def test_what_nothing_can_be_measured_of_is_merged(run, fails, saved, tmp_path, make):
    path, out = saved(make()), tmp_path / "small.onnx"
    result = run("compress", path, out, "--json", "-q")
    data = json.loads(result.stdout)
    assert {group["method"] for group in data["groups"]} == {"merge"}
    assert any(line.startswith("method merge instead, since nothing") for line in data["notes"])
    fails("evaluate", path)


def test_a_proof_needs_numbers(fails, saved, tmp_path):
    line = fails("compress", saved(without_a_batch()), tmp_path / "small.onnx", "--verify")
    assert "has shape (0, 3, 8, 8): nothing can be measured on inputs without numbers" in line


def test_nothing_is_run_where_nothing_is_cut(run, saved, tmp_path, monkeypatch):
    from nmcore_ort.session import OrtSession

    def run_model(*_args, **_options):
        raise AssertionError("the model was run")

    monkeypatch.setattr(OrtSession, "run", run_model)
    path = saved(Chain(("a", "b", 1024, 4096)).node("Abs").node("Transpose").build())
    result = run("compress", path, tmp_path / "small.onnx")
    assert "latency" not in result.stdout
    assert "checked and loaded; nothing to time" in result.stdout


def bert(types=2, hidden=8, *, in_graph=True):
    """Words, two kinds of tokens, and a mask by another name."""
    chain = Chain(("n", 5))
    rng = np.random.default_rng(0)
    words = chain.constant(rng.standard_normal((40, hidden)).astype("f4"), "words")
    kinds = chain.constant(rng.standard_normal((types, hidden)).astype("f4"), "kinds")
    if not in_graph:
        kinds = chain.raw("Mul", kinds, chain.constant(np.float32(1))).value
    first = chain.raw("Gather", words, "input").value
    chain.raw("Add", first, chain.raw("Gather", kinds, "token_type_ids").value)
    chain.width = hidden
    chain.matmul(16).node("Relu").matmul(6)
    found = chain.value
    keep = chain.raw("Cast", "valid", to=TensorProto.FLOAT).value
    lost = chain.raw("Sub", chain.constant(np.float32(1)), keep)
    lost = lost.node("Mul", np.float32(-1e4)).node("Unsqueeze", np.array([2])).value
    chain.raw("Add", found, lost).node("Softmax", axis=1)
    whole = [tensor(name, TensorProto.INT64, ["n", 5]) for name in ("token_type_ids", "valid")]
    model = declared(chain, tensor(chain.value, shape=["n", 5, 6]), inputs=whole)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


@pytest.mark.parametrize("types", [1, 2, 4])
@pytest.mark.parametrize("in_graph", [True, False])
def test_ids_fit_the_tables_that_read_them(run, saved, tmp_path, types, in_graph):
    path, out = saved(bert(types, in_graph=in_graph)), tmp_path / "small.onnx"
    result = run("compress", path, out, "--verify", "--json", "-q")
    data = json.loads(result.stdout)
    assert any("synthetic inputs" in line for line in data["notes"])
    assert data["fidelity"]["n"] == 64
    run("evaluate", path, out)


def test_what_a_graph_tells_of_integers():
    graph = registry.open_graph(bert())
    hints = graph.input_hints()
    assert {name: (hint.ids, hint.mask) for name, hint in hints.items()} == {
        "input": (40, False),
        "token_type_ids": (2, False),
        "valid": (None, True),
    }
