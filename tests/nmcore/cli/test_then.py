"""Weights in smaller numbers after the compression, each step's loss by itself."""

from __future__ import annotations

import json
import pickle

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, version_converter

import bodies
import nmcore
from chain import Chain
from nmcore.errors import ArgumentError, ModelError
from nmcore_ort.conversion import _of_usable_opset, check_convertible, convert
from pages import ROOT

MODEL = ROOT / "examples" / "fashion_mnist" / "lenet5_bn.onnx"
DATA = ROOT / "examples" / "fashion_mnist" / "calibration_256.npz"
STEPS = {"scale": 255, "mean": 0.2860, "std": 0.3530}
WORDS = ["--ratio", "0.25", "--method", "merge", "--data", DATA, "--samples", "64"]
WORDS += [word for name, value in STEPS.items() for word in (f"--{name}", value)]


@pytest.fixture(scope="module")
def quantised():
    return nmcore.compress(MODEL, ratio=0.25, method="merge", data=DATA, then="int8", **STEPS)


def kinds(model):
    return {node.op_type for node in model.graph.node}


def test_the_program_tells_each_step_apart(run, tmp_path):
    target, report = tmp_path / "small.onnx", tmp_path / "report.json"
    said = run("compress", MODEL, target, *WORDS, "--then", "int8", "--report", report).stdout
    first, second = json.loads(report.read_text())["steps"]
    assert [first["name"], second["name"]] == ["compress", "int8"]
    assert second["bytes"] == target.stat().st_size < first["bytes"] / 2
    assert first["fidelity"]["n"] == second["fidelity"]["n"]
    assert min(first["latency_ms"], second["latency_ms"]) > 0
    lines = said.splitlines()[-2:]
    lost = first["fidelity"]["loss"]["points"]
    assert lines[0].startswith(f"after compress: agreement with the original {lost:.2f} points")
    further = abs(second["fidelity"]["loss"]["points"] - lost)
    assert lines[1].startswith(f"after int8: agreement with the original {further:.2f} points")
    assert "(QDQ), activations have fixed ranges, measured on" in said
    assert "quantised again" not in said


def test_a_network_of_convolutions_gets_fixed_ranges(quantised):
    model = quantised.to_onnx()
    assert {"Conv", "QuantizeLinear", "DequantizeLinear"} <= kinds(model)
    onnx.checker.check_model(model)
    before = quantised.unconverted.to_onnx()
    assert "QuantizeLinear" not in kinds(before)
    for one, other in zip(model.graph.input, before.graph.input, strict=True):
        assert one.type.tensor_type.elem_type == other.type.tensor_type.elem_type
    assert quantised.after.macs == quantised.unconverted.after.macs


def test_both_steps_are_compared_on_the_same_inputs(quantised):
    first, second = quantised.unconverted.fidelity, quantised.fidelity
    assert (first.n, first.held) == (second.n, True)
    assert second.deviation != first.deviation
    # Of the two the integers cost far less; processors without exact ones add a few points.
    assert abs(second.deviation - first.deviation) < first.deviation / 2


def test_the_result_can_be_pickled(quantised):
    again = pickle.loads(pickle.dumps(quantised))
    assert again.serialize() == quantised.serialize()
    assert again.unconverted.serialize() == quantised.unconverted.serialize()


def test_half_precision_keeps_the_types_of_inputs_and_outputs():
    result = nmcore.compress(MODEL, ratio=0.25, method="merge", data=DATA, then="fp16", **STEPS)
    model = result.to_onnx()
    types = [each.type.tensor_type.elem_type for each in (*model.graph.input, *model.graph.output)]
    assert types == [TensorProto.FLOAT] * 2
    assert len(result.serialize()) < 0.6 * len(result.unconverted.serialize())
    assert result.fidelity.deviation == pytest.approx(result.unconverted.fidelity.deviation, abs=1)


def test_plans_have_no_part_in_it(quantised):
    again = nmcore.compress(MODEL, plan=quantised.plan, then="int8", data=DATA, **STEPS)
    assert again.serialize() == quantised.serialize()


def model_of(*nodes, inputs, weights, outputs):
    floats = [helper.make_tensor_value_info(*each) for each in (*inputs, *outputs)]
    graph = helper.make_graph(
        list(nodes),
        "g",
        floats[: len(inputs)],
        floats[len(inputs) :],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_what_is_no_network_of_convolutions_gets_the_ranges_of_each_input():
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((8, 16), np.float32)}
    model = model_of(
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
        inputs=[("x", TensorProto.FLOAT, (None, 8))],
        outputs=[("y", TensorProto.FLOAT, (None, 16))],
        weights=weights,
    )
    model.metadata_props.add(key="author", value="me")
    found = convert(model.SerializeToString(), "int8", lambda: pytest.fail("nothing is measured"))
    assert not found.fitted
    written = onnx.load_from_string(found.model)
    assert {"DynamicQuantizeLinear", "MatMulInteger"} <= kinds(written)
    assert ("author", "me") in [(each.key, each.value) for each in written.metadata_props]


def test_nodes_without_names_are_quantised_as_well():
    rng = np.random.default_rng(0)
    model = model_of(
        helper.make_node("Conv", ["x", "v"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["c"]),
        helper.make_node("Softmax", ["c"], ["y"], axis=1),
        inputs=[("x", TensorProto.FLOAT, (None, 3, 8, 8))],
        outputs=[("y", TensorProto.FLOAT, (None, 4, 4, 4))],
        weights={name: rng.standard_normal(shape, np.float32) for name, shape in SHAPES.items()},
    )
    x = rng.standard_normal((4, 3, 8, 8), np.float32)
    written = onnx.load_from_string(
        convert(model.SerializeToString(), "int8", lambda: [{"x": x}]).model
    )
    makers = {output: node.op_type for node in written.graph.node for output in node.output}
    weights = [node.input[1] for node in written.graph.node if node.op_type == "Conv"]
    assert [makers.get(name) for name in weights] == ["DequantizeLinear"] * 2


SHAPES = {"v": (8, 3, 3, 3), "w": (4, 8, 3, 3)}


def test_what_gives_no_numbers_any_more_is_refused(monkeypatch):
    broken = model_of(
        helper.make_node("Mul", ["input", "nothing"], ["logits"], name="product"),
        inputs=[("input", TensorProto.FLOAT, (None, 1, 28, 28))],
        outputs=[("logits", TensorProto.FLOAT, (None, 1, 28, 28))],
        weights={"nothing": np.float32([np.nan])},
    )
    monkeypatch.setattr("nmcore_ort.conversion._half", lambda model: (broken, "", False))
    with pytest.raises(ModelError, match=r"to fp16: its outputs would hold NaN or infinity"):
        nmcore.compress(MODEL, ratio=0.25, method="merge", then="fp16")


@pytest.mark.parametrize("options", [{"then": "int4"}, {"then": "int8", "states": True}])
def test_what_cannot_be_is_refused_before_any_work(options):
    with pytest.raises(ArgumentError, match="then"):
        nmcore.compress("no such file", **options)


def test_a_model_that_is_in_half_precision_already_is_refused(tmp_path, fails):
    half = nmcore.compress(MODEL, ratio=0.25, method="merge", then="fp16").serialize()
    (tmp_path / "half.onnx").write_bytes(half)
    line = fails(
        *("compress", tmp_path / "half.onnx", tmp_path / "out.onnx", "--method", "merge"),
        *("--then", "fp16"),
    )
    assert line == "the model has no fp32 weights that could be converted to fp16"


@pytest.mark.parametrize("then", ["int8", "fp16"])
@pytest.mark.parametrize("made", [bodies.branches, bodies.loop])
def test_weights_in_bodies_alone_are_refused_before_any_work(monkeypatch, made, then):
    monkeypatch.setattr("nmcore.pipeline.compress._all", None)  # What does the work.
    with pytest.raises(ModelError, match=f"no fp32 weights outside of the bodies .* to {then}"):
        nmcore.compress(made(), then=then)


def test_a_model_of_which_the_quantiser_would_leave_all_as_it_is_is_refused():
    # Constants are outside of the If, which what is computed from them is multiplied with.
    with pytest.raises(ModelError, match=r"no fp32 weights outside of the bodies .* to int8"):
        nmcore.compress(bodies.written_out(), ratio=0.25, then="int8")


def test_operators_without_a_way_up_stay_in_their_set(monkeypatch):
    chain = Chain(opset=9).conv(4).node("ATen", operator="abs").conv(4)
    model = chain.build(check=False)
    assert _of_usable_opset(model) is model
    plain = _of_usable_opset(Chain(opset=12).conv(4).node("Relu").conv(4).build())
    assert plain.opset_import[0].version == 13

    def broken(model, version):
        raise TypeError

    monkeypatch.setattr(version_converter, "convert_version", broken)
    with pytest.raises(TypeError):
        _of_usable_opset(model)


def test_weights_that_are_computed_from_constants_are_converted():
    chain = Chain(("n", 6))
    turned = chain.constant(np.random.default_rng(0).random((8, 6), np.float32))
    data = chain.value
    chain.raw("Transpose", turned, perm=[1, 0])
    chain.raw("MatMul", data, chain.value).node("Relu").matmul(4)
    model = chain.build(check=False)
    check_convertible(model.SerializeToString(), "int8")
    del model.graph.node[1:]
    with pytest.raises(ModelError, match="the model has no fp32 weights that"):
        check_convertible(model.SerializeToString(), "int8")


def test_a_model_of_integers_is_refused_before_any_work(quantised, tmp_path, fails):
    (tmp_path / "int8.onnx").write_bytes(quantised.serialize())
    for then in ("int8", "fp16"):
        line = fails("compress", tmp_path / "int8.onnx", tmp_path / "out.onnx", "--then", then)
        assert line == (
            f"then is {then}, and weights of the model are quantised already: they are quantised "
            "again as they were; leave out then"
        )
