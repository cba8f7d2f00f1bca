"""Recurrent layers of every form: units that are copies of others merge without loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import nmcore
from nmcore.calibration.random_inputs import random_inputs
from nmcore.compression.merging import merge_group
from nmcore.options.options import MethodOptions
from nmcore.plan.plan import GroupPlan, Plan
from nmcore_onnx import backend
from proving import reasons, widths
from recurrent import BATCH, FEATURES, STEPS, Form, feeds, network, steps_first

LSTM, GRU, RNN = ("LSTM",), ("GRU",), ("RNN",)
BOTH = "bidirectional"
# One unit of each class of a form, and one channel of each pair of the layer before.
KEPT = {6: (0, 2, 4), 4: (0, 3)}
FORMS = {
    "LSTM": Form(LSTM),
    "GRU, reset before": Form(GRU),
    "GRU, reset after": Form(GRU, reset_after=True),
    "RNN": Form(RNN),
    "backwards": Form(LSTM, direction="reverse"),
    "both ways": Form(GRU, direction=BOTH, reset_after=True),
    "stacked": Form(("LSTM", "GRU", "RNN"), direction=BOTH),
    "behind a product": Form(GRU, before=True),
    "no biases": Form(("GRU", "LSTM"), bias=False),
    "peepholes": Form(LSTM, direction=BOTH, peepholes=True),
    "final state": Form(RNN, direction=BOTH, read="Y_h"),
    "final cell": Form(LSTM, read="Y_c", peepholes=True),
    "zeros first": Form(LSTM, direction=BOTH, initial="zero"),
    "constant first": Form(LSTM, direction=BOTH, initial="constant"),
    "constant for all of the batch": Form(GRU, initial="repeated"),
    "encoded first": Form(LSTM, direction=BOTH, initial="encoded"),
    "lengths": Form(GRU, direction=BOTH, lengths=True),
    "lengths and states": Form(LSTM, direction="reverse", lengths=True, initial="constant"),
    "other activations": Form(LSTM, activations=("HardSigmoid", "Relu", "Softsign")),
    "old operators": Form(LSTM, direction=BOTH, opset=11),
}

# Those that differ in what R reads.
MEASURED = (
    *("LSTM", "GRU, reset before", "GRU, reset after", "backwards", "stacked", "no biases"),
    *("constant first", "encoded first", "lengths"),
)


@st.composite
def forms(draw: st.DrawFn) -> Form:
    """Any form that onnxruntime runs."""
    ops = tuple(draw(st.lists(st.sampled_from(("LSTM", "GRU", "RNN")), min_size=1, max_size=2)))
    states = ("Y", "Y_h", "Y_c") if ops[-1] == "LSTM" else ("Y", "Y_h")
    return Form(
        ops,
        draw(st.sampled_from(("forward", "reverse", BOTH))),
        reset_after=draw(st.booleans()),
        peepholes=draw(st.booleans()),
        bias=draw(st.booleans()),
        initial=draw(st.sampled_from(("absent", "zero", "constant", "repeated", "encoded"))),
        lengths=draw(st.booleans()),
        read=draw(st.sampled_from(states)),
        before=draw(st.booleans()),
        classes=tuple(draw(st.permutations((0, 1, 2, 0, 1, 2)))),
        seed=draw(st.integers(0, 99)),
    )


def kept(form: Form, width: int) -> tuple[int, ...]:
    """One of the units of each class."""
    if width == len(form.classes):
        return tuple(sorted({owner: unit for unit, owner in enumerate(form.classes)}.values()))
    return KEPT[width]


def plan(model: onnx.ModelProto, form: Form) -> Plan:
    groups = backend.open(model).groups
    assert len(groups) == len(form.ops) + form.before
    return Plan(tuple(GroupPlan(g.name, g.width, kept(form, g.width)) for g in groups))


def run(model: onnx.ModelProto | bytes, form: Form, seeds: Sequence[int] = (1,)) -> np.ndarray:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data)
    return np.concatenate([session.run(None, feeds(form, seed))[0] for seed in seeds])


def assert_equal(got: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def weights(data: bytes) -> dict[str, np.ndarray]:
    graph = onnx.load_from_string(data).graph
    return {each.name: numpy_helper.to_array(each) for each in graph.initializer}


def check_lossless(form: Form) -> None:
    """Half of all units go, each a copy of one that stays."""
    model = network(form)
    result = nmcore.compress(model, plan=plan(model, form), method="merge", verify=True)
    assert result.report.verified
    small = result.graph.serialize()
    onnx.checker.check_model(onnx.load_from_string(small), full_check=True)
    arrays = weights(small)
    for number in range(len(form.ops)):
        assert arrays[f"layer{number}_R"].shape[2] == len(form.classes) // 2
    assert_equal(run(small, form), run(model, form))


@pytest.mark.parametrize("name", FORMS)
def test_copies_merge_without_loss(name):
    check_lossless(FORMS[name])


@given(forms())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_copies_in_any_form_merge_without_loss(form):
    check_lossless(form)


@pytest.mark.parametrize("direction", ["forward", "reverse", BOTH])
@pytest.mark.parametrize("initial", ["absent", "constant", "repeated", "encoded"])
def test_data_that_begin_with_the_batch(direction, initial):
    read = "Y" if initial in ("absent", "encoded") else "Y_h"
    form = Form(("GRU", "LSTM"), direction, layout=1, initial=initial, read=read)
    model = network(form)
    graph = backend.open(model)
    for group in graph.groups:
        own = np.array(kept(form, group.width))
        merge_group(graph, group, len(own), MethodOptions(), planned=own)
    small = onnx.load_from_string(graph.serialize())
    onnx.checker.check_model(small, full_check=True)
    assert weights(graph.serialize())["layer1_R"].shape[2] == 3
    assert_equal(run(steps_first(small), form), run(steps_first(model), form))


@pytest.mark.parametrize("direction", ["forward", BOTH])
def test_a_layer_that_begins_with_the_states_of_another(direction):
    form = Form(("LSTM", "LSTM"), direction)
    model = network(form)
    first, second = (each for each in model.graph.node if each.op_type == "LSTM")
    first.output.extend(["hidden", "cell"])
    second.input[5], second.input[6] = first.output[1:]
    onnx.checker.check_model(model, full_check=True)
    assert widths(model) == {"layer0": 6}
    chosen = Plan((GroupPlan("layer0", 6, kept(form, 6)),))
    small = nmcore.compress(model, plan=chosen, method="merge", verify=True).graph.serialize()
    assert weights(small)["layer1_W"].shape[1:] == (12, 3 * (1 + (direction == BOTH)))
    assert_equal(run(small, form), run(model, form))


def test_both_directions_begin_with_parts_of_one_product():
    """Reshaped to (batch, directions, H): unit k of both goes or stays as one."""
    form = Form(GRU, direction=BOTH, initial="encoded")
    model = network(form)
    (layer,) = (each for each in model.graph.node if each.name == "layer0")
    encoder = next(each for each in model.graph.node if layer.input[5] in each.output)
    place = list(model.graph.node).index(layer)
    rows = np.random.default_rng(3).standard_normal((FEATURES, 12)).astype(np.float32)
    rows = rows.reshape(FEATURES, 2, 6)[:, :, [0, 1, 2, 0, 1, 2]].reshape(FEATURES, 12)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(rows, "started"),
            numpy_helper.from_array(np.array([BATCH, 2, 6]), "apart"),
            numpy_helper.from_array(np.array([0]), "first_step"),
        ]
    )
    nodes = [
        helper.make_node("Gather", [layer.input[0], "first_step"], ["beginning"], axis=0),
        helper.make_node("Squeeze", ["beginning", "first_step"], ["flat_beginning"]),
        helper.make_node("Gemm", ["flat_beginning", "started"], ["start"], "start"),
        helper.make_node("Reshape", ["start", "apart"], ["parts"], "parts"),
        helper.make_node("Transpose", ["parts"], ["turned_parts"], perm=[1, 0, 2]),
    ]
    layer.input[5] = "turned_parts"
    for node in reversed(nodes):
        model.graph.node.insert(place, node)
    model.graph.node.remove(encoder)
    onnx.checker.check_model(model, full_check=True)
    assert widths(model) == {"start": 6}
    chosen = Plan((GroupPlan("start", 6, kept(form, 6)),))
    small = nmcore.compress(model, plan=chosen, method="merge", verify=True).graph.serialize()
    assert weights(small)["layer0_R"].shape == (2, 9, 3)
    assert_equal(run(small, form), run(model, form))


def test_lengths_that_are_made_fit_the_steps():
    """The number of steps is open, and first of all axes."""
    model = network(Form(GRU, lengths=True))
    (turn,) = (each for each in model.graph.node if each.name == "steps_first")
    model.graph.node.remove(turn)
    for node in model.graph.node:
        node.input[:] = ["x" if each in turn.output else each for each in node.input]
    for value in model.graph.input:
        sizes = ["steps", "batch", FEATURES] if value.name == "x" else ["batch"]
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, sizes))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    hint = backend.open(model).input_hints()["lengths"]
    assert hint.steps_of == ("x", 0)
    result = nmcore.compress(model, ratio=0.5, method="moments", samples=32, verify=True)
    assert result.report.verified
    specs = result.original.session().inputs
    made = random_inputs(specs, hints={"lengths": hint})
    assert made["x"].shape == (32, 1, FEATURES)
    assert made["lengths"].tolist() == [32]


def test_a_weight_behind_an_identity_says_nothing(caplog):
    model = network(Form(GRU))
    (layer,) = (each for each in model.graph.node if each.name == "layer0")
    model.graph.node.insert(0, helper.make_node("Identity", [layer.input[2]], ["same"], "same"))
    layer.input[2] = "same"
    with caplog.at_level("INFO"):
        nmcore.compress(model, ratio=0.5, method="merge", verify=True)
    assert not [each for each in caplog.records if each.levelname == "WARNING"]


# what the caller sees stays


def with_states(model: onnx.ModelProto, form: Form, given: str, taken: str) -> onnx.ModelProto:
    """The states as inputs of the model, its outputs, or both."""
    (node,) = (each for each in model.graph.node if each.name == "layer0")
    shape = [2 if form.direction == BOTH else 1, BATCH, len(form.classes)]
    states = ("h", "c") if node.op_type == "LSTM" else ("h",)
    for index, state in enumerate(states):
        if state in given:
            node.input.extend([""] * (6 + index - len(node.input)))
            node.input[5 + index] = f"{state}0"
            value = helper.make_tensor_value_info(f"{state}0", TensorProto.FLOAT, shape)
            model.graph.input.append(value)
        if state in taken:
            node.output.extend([""] * (2 + index - len(node.output)))
            node.output[1 + index] = f"{state}1"
            value = helper.make_tensor_value_info(f"{state}1", TensorProto.FLOAT, shape)
            model.graph.output.append(value)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize(
    ("given", "taken", "reason"),
    [
        (
            *("hc", "hc"),
            "LSTM 'layer0' begins with the model's input 'h0', whose shape would change: --states "
            "allows it",
        ),
        ("c", "", "LSTM 'layer0' begins with the model's input 'c0', whose shape would change"),
        ("", "c", "its channels are the model's output 'c1'"),
    ],
)
def test_states_that_the_caller_sees_keep_their_width(given, taken, reason):
    form = Form(LSTM)
    model = with_states(network(form), form, given, taken)
    assert not widths(model)
    assert reasons(model)["layer0"] == reason


def test_data_of_a_layer_that_keeps_its_units_shrink():
    form = Form(LSTM, before=True)
    model = with_states(network(form), form, "hc", "hc")
    assert widths(model) == {"first": 4}
    chosen = Plan((GroupPlan("first", 4, (0, 3)),))
    result = nmcore.compress(model, plan=chosen, method="merge", verify=True)
    arrays = weights(result.graph.serialize())
    assert arrays["layer0_W"].shape == (1, 24, 2)
    assert arrays["layer0_R"].shape == (1, 24, 6)
    assert list(result.graph.result().graph.inputs[1].shape) == [1, BATCH, 6]


def test_some_units_that_the_caller_sees_stay():
    form = Form(GRU, direction=BOTH)
    model = network(form)
    ends = [("starts", [0]), ("ends", [2]), ("axes", [3])]
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value), name) for name, value in ends
    )
    inputs = ["layer0_Y", *(name for name, _ in ends)]
    model.graph.node.append(helper.make_node("Slice", inputs, ["seen"], "seen"))
    model.graph.output.append(
        helper.make_tensor_value_info("seen", TensorProto.FLOAT, [STEPS, 2, BATCH, 2])
    )
    assert reasons(model)["layer0"].startswith("6 of its 18 channels stay: ")
    chosen = Plan((GroupPlan("layer0", 4, (0, 2)),))  # units 2 and 4; 3 and 5 are 0 and 2 again
    result = nmcore.compress(model, plan=chosen, method="prune", verify=True)
    assert weights(result.graph.serialize())["layer0_R"].shape == (2, 12, 4)
    assert list(result.graph.result().graph.outputs[1].shape) == [STEPS, 2, BATCH, 2]


# what is not understood stays


def changed(form: Form, name: str, array: np.ndarray) -> onnx.ModelProto:
    """A network with another constant."""
    model = network(form)
    (found,) = (each for each in model.graph.initializer if each.name == name)
    found.CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))
    return model


def listed(form: Form, name: str) -> onnx.ModelProto:
    """A network with a constant that callers may set."""
    model = network(form)
    (found,) = (each for each in model.graph.initializer if each.name == name)
    value = helper.make_tensor_value_info(name, found.data_type, list(found.dims))
    model.graph.input.append(value)
    return model


@pytest.mark.parametrize("name", ["W", "R", "B", "P", "h"])
def test_what_a_caller_may_set_stays(name):
    form = Form(LSTM, peepholes=True, initial="constant")
    model = listed(form, f"layer0_{name}")
    assert "layer0" not in widths(model)
    assert reasons(model)["layer0"]


def test_a_computed_weight():
    model = network(Form(GRU, before=True))
    (node,) = (each for each in model.graph.node if each.name == "layer0")
    model.graph.node.insert(0, helper.make_node("Add", [node.input[2], "shift"], ["computed"]))
    model.graph.input.append(helper.make_tensor_value_info("shift", TensorProto.FLOAT, [1]))
    node.input[2] = "computed"
    assert not widths(model)
    assert reasons(model)["layer0"] == "its recurrent weights are computed while the model runs"
    assert "but its recurrent weights are computed" in reasons(model)["first"]


def test_weights_that_do_not_fit():
    form = Form(LSTM)
    assert not widths(changed(form, "layer0_R", np.ones((1, 24, 5))))
    assert not widths(changed(form, "layer0_W", np.ones((1, 20, FEATURES))))
    assert not widths(changed(form, "layer0_B", np.ones((1, 47))))


# weights with several readers


def twice(form: Form) -> onnx.ModelProto:
    """Two layers with the same weights, on data that differ; the sum of both is read."""
    model = network(form)
    node = next(each for each in model.graph.node if each.name == "layer0")
    other = onnx.NodeProto()
    other.CopyFrom(node)
    other.name, other.input[0], other.output[0] = "other", "turned_round", "other_Y"
    turn = helper.make_node("Neg", ["steps_first_out"], ["turned_round"], "negative")
    total = helper.make_node("Add", ["layer0_Y", "other_Y"], ["total"], "total")
    at = list(model.graph.node).index(node) + 1
    model.graph.node[at].input[0] = "total"
    for each in (total, other, turn):
        model.graph.node.insert(at, each)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("initial", ["absent", "constant"])
def test_two_layers_with_the_same_weights(op, initial):
    form = Form((op,), initial=initial)
    model = twice(form)
    result = nmcore.compress(model, plan=plan(model, form), method="merge", verify=True)
    assert len(result.graph.result().graph.initializers) <= len(model.graph.initializer)
    assert_equal(run(result.graph.serialize(), form), run(model, form))


def test_one_array_as_both_weights():
    """Rows and columns of R would be cut with the units, those of W with what it reads."""
    form = Form(("RNN", "RNN"))
    model = network(form)
    (node,) = (each for each in model.graph.node if each.name == "layer1")
    node.input[1] = node.input[2]
    assert not widths(model)
    assert "the weight 'layer1_R' that several nodes share" in reasons(model)["layer1"]


# what is measured


def shown(form: Form) -> dict[str, np.ndarray]:
    several = [feeds(form, seed) for seed in range(20)]
    return {name: np.concatenate([each[name] for each in several]) for name in several[0]}


@pytest.mark.parametrize("name", MEASURED)
def test_the_default_finds_copies(name):
    form = FORMS[name]
    model = network(form)
    result = nmcore.compress(model, ratio=0.5, data=shown(form), verify=True)
    got, expected = run(result.graph.serialize(), form), run(model, form)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_the_cost_of_fewer_units_is_foreseen():
    """The columns of R and its rows go with the same units."""
    form = Form(("GRU", "LSTM"), direction=BOTH, peepholes=True, before=True, initial="constant")
    graph = backend.open(network(form))
    before, widths_left = graph.cost(), {"first": 3, "layer0": 2, "layer1": 5}
    for group in graph.groups:
        own = np.arange(widths_left[group.name])
        merge_group(graph, group, len(own), MethodOptions(method="prune"), planned=own)
    of_group = {group.name: widths_left[group.name] / group.width for group in graph.groups}
    gone = [(term, 1 - np.prod([of_group[name] for name in term.groups])) for term in graph.terms()]
    after = graph.cost()
    assert before.params - after.params == round(sum(term.params * share for term, share in gone))
    assert before.macs - after.macs == round(sum(term.macs * share for term, share in gone))


def blurred(form: Form) -> onnx.ModelProto:
    """A network whose copies are not quite equal, as in trained ones."""
    model, rng = network(form), np.random.default_rng(1)
    for found in model.graph.initializer:
        if found.name.startswith("layer"):
            array = numpy_helper.to_array(found)
            noise = 0.15 * array.std() * rng.standard_normal(array.shape)
            found.CopyFrom(numpy_helper.from_array((array + noise).astype(array.dtype), found.name))
    return model


@pytest.mark.parametrize("ops", [LSTM, GRU, RNN])
def test_the_default_loses_less_than_merging(ops):
    """Though merging is told which units to keep."""
    form, others = Form(ops, direction=BOTH), range(20, 40)
    model = blurred(form)
    expected, errors = run(model, form, others), []
    for options in (
        {"ratio": 0.5, "data": shown(form)},
        {"plan": plan(model, form), "method": "merge"},
    ):
        small = nmcore.compress(model, verify=True, **options).graph.serialize()
        errors.append(np.square(run(small, form, others) - expected).sum())
    assert errors[0] < errors[1]
