"""Units of both directions are paired in whatever way loses least, and nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import nmcore
from nmcore.compression.baseline import Baseline
from nmcore.errors import ArgumentError, ModelError
from nmcore.pipeline import compress
from nmcore.plan.plan import GroupPlan, Plan
from nmcore_onnx import backend
from recurrent import BATCH, FEATURES, STEPS, Form, feeds, network

BOTH, UNITS = "bidirectional", 6
PAIRED = {
    "LSTM": Form(("LSTM",), BOTH, peepholes=True),
    "GRU, reset before": Form(("GRU",), BOTH),
    "stacked": Form(("RNN", "GRU", "LSTM"), BOTH, before=True, initial="zero"),
    "lengths": Form(("GRU",), BOTH, reset_after=True, lengths=True),
    "no biases": Form(("LSTM",), BOTH, bias=False),
}
AS_THEY_ARE = {
    "one direction": Form(("LSTM",)),
    "final states": Form(("GRU",), BOTH, read="Y_h"),
    "a constant first": Form(("LSTM",), BOTH, initial="constant"),
    "encoded first": Form(("LSTM",), BOTH, initial="encoded"),
}


def run(model: bytes | onnx.ModelProto, form: Form) -> np.ndarray:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(data).run(None, feeds(form))[0]


@pytest.mark.parametrize("name", PAIRED)
def test_another_order_is_the_same_model(name):
    form, rng = PAIRED[name], np.random.default_rng(0)
    model = network(form)
    graph = backend.open(model)
    orders = {each: rng.permutation(UNITS).tolist() for each in graph.tap_directions()}
    assert len(orders) == len(form.ops)
    other = graph.paired(orders)
    assert other.backward == orders
    given = other.serialize_floats(original=True)
    moved = {
        each.name: numpy_helper.to_array(each)
        for each in onnx.load_from_string(given).graph.initializer
    }
    for each in model.graph.initializer:
        if each.name in [f"layer{k}_R" for k in range(len(form.ops))]:
            assert not np.array_equal(moved[each.name], numpy_helper.to_array(each))
    np.testing.assert_allclose(run(given, form), run(model, form), atol=1e-6)


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_where_more_reads_the_units_they_stay_in_order(name):
    assert not backend.open(network(AS_THEY_ARE[name])).tap_directions()


def test_a_sum_of_both_directions_keeps_their_order():
    """Unit k of one is added to unit k of the other."""
    model = network(PAIRED["LSTM"])
    (flat,) = [node for node in model.graph.node if node.name == "flat0"]
    flat.CopyFrom(
        helper.make_node(
            "ReduceSum", ["layer0_Y"], ["flat0_out"], "flat0", axes=[1], keepdims=0, domain=""
        )
    )
    model.opset_import[0].version = 12
    (weight,) = [each for each in model.graph.initializer if each.name == "last_weight"]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[:UNITS], "last_weight"))
    assert not backend.open(model).tap_directions()


@pytest.mark.parametrize("joined", ["an open number of steps", "every other step"])
def test_columns_that_are_of_steps_keep_the_units_in_order(joined):
    """Two steps stand side by side, and each direction is a row of its own."""
    model = network(PAIRED["GRU, reset before"])
    (turn,) = [node for node in model.graph.node if node.name == "turn0"]
    (flat,) = [node for node in model.graph.node if node.name == "flat0"]
    if joined == "an open number of steps":
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "steps"
        turn.CopyFrom(helper.make_node("Transpose", turn.input, turn.output, perm=[1, 2, 0, 3]))
        flat.CopyFrom(helper.make_node("Flatten", flat.input[:1], flat.output, axis=2))
    else:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
        ends = {"split": [2, 2, 2, BATCH, UNITS], "ended": [2, 2, BATCH, 2 * UNITS]}
        for name, sizes in ends.items():
            model.graph.initializer.append(numpy_helper.from_array(np.array(sizes), name))
        split = helper.make_node("Reshape", [turn.input[0], "split"], ["halves"])
        turn.CopyFrom(helper.make_node("Transpose", ["halves"], turn.output, perm=[0, 2, 3, 1, 4]))
        flat.CopyFrom(helper.make_node("Reshape", [flat.input[0], "ended"], flat.output))
        model.graph.node.insert(list(model.graph.node).index(turn), split)
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    graph = backend.open(model)
    assert "layer0" in [group.name for group in graph.groups]
    assert not graph.tap_directions()


def half_dead() -> onnx.ModelProto:
    """Half of the units of each direction are never on, and those of one are not the other's."""
    model = network(Form(("LSTM", "GRU"), BOTH, classes=tuple(range(UNITS)), seed=3))
    found = {each.name: each for each in model.graph.initializer}
    for name, tensor in found.items():
        if name.endswith(("_W", "_R", "_B")):
            array = numpy_helper.to_array(tensor).copy()
            runs = array.reshape(2, -1, UNITS, *array.shape[2:])
            runs[0, :, :3] = runs[1, :, 3:] = 0
            tensor.CopyFrom(numpy_helper.from_array(array, name))
    return model


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    return {"x": rng.standard_normal((70, STEPS, FEATURES)).astype(np.float32)}


@pytest.fixture(scope="module")
def result(data):
    return nmcore.compress(half_dead(), ratio=0.5, data=data, method="moments", verify=True)


class TestPairing:
    def test_units_that_do_nothing_go_together(self, result):
        got = onnxruntime.InferenceSession(result.graph.serialize()).run(None, feeds(Form()))[0]
        expected = run(half_dead(), Form())
        np.testing.assert_allclose(got, expected, atol=1e-3 * np.abs(expected).max())
        for group in result.plan.groups:
            assert len(group.kept) == UNITS // 2
            assert set(group.kept) == {3, 4, 5}
            assert {group.backward[unit] for unit in group.kept} == {0, 1, 2}

    def test_the_plan_repeats_them(self, result, data, tmp_path):
        result.plan.save(tmp_path / "plan.json")
        again = nmcore.compress(half_dead(), plan=tmp_path / "plan.json", data=data)
        assert again.graph.serialize() == result.graph.serialize()
        pairs = [(each.kept, each.backward) for each in result.plan.groups]
        assert [(each.kept, each.backward) for each in again.plan.groups] == pairs

    def test_a_plan_with_units_alone_is_enough(self, result):
        groups = [
            GroupPlan(each.name, each.width, each.kept, backward=each.backward)
            for each in result.plan.groups
        ]
        small = nmcore.compress(half_dead(), plan=Plan(tuple(groups)), method="prune")
        got, expected = run(small.graph.serialize(), Form()), run(half_dead(), Form())
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())

    @pytest.mark.parametrize("better", [False, True], ids=["nothing measured", "merging better"])
    def test_a_plan_means_its_pairs_where_it_is_merged_instead(self, result, monkeypatch, better):
        def refused(*_given):
            raise ModelError("it does not run")

        if better:
            monkeypatch.setattr(Baseline, "_deviations", lambda *_: [1.0, 0.0])
        else:
            monkeypatch.setattr(compress, "reconstruct_all", refused)
        groups = [
            GroupPlan(each.name, each.width, each.kept, backward=each.backward)
            for each in result.plan.groups
        ]
        small = nmcore.compress(half_dead(), plan=Plan(tuple(groups)), samples=16)
        assert {each.method for each in small.plan.groups} == {"merge"}
        assert [each.backward for each in small.plan.groups] == [each.backward for each in groups]

    @pytest.mark.parametrize(
        ("backward", "told"),
        [
            ((0, 1, 2, 3, 4), "5 backward units of group layer0; each of 0 to 5 is needed once"),
            ((0, 0, 1, 2, 3, 4), "each of 0 to 5 is needed once"),
            ((0.5,), "backward is .0.5.; a list of units is needed"),
        ],
    )
    def test_units_that_are_not_there_are_refused(self, backward, told):
        plan = {"groups": [{"name": "layer0", "kept": [0, 1], "backward": backward}]}
        with pytest.raises(ArgumentError, match=told):
            nmcore.compress(half_dead(), plan=plan)

    def test_layers_of_one_direction_have_none(self):
        plan = {"groups": [{"name": "layer0", "kept": [0, 1], "backward": [1, 0, 2, 3, 4, 5]}]}
        with pytest.raises(ArgumentError, match="layer0, which cannot be paired in another way"):
            nmcore.compress(network(Form()), plan=plan)
