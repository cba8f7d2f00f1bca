"""States that are inputs and outputs of a model shrink where that is asked for."""

from __future__ import annotations

import pickle

import numpy as np
import onnx
import onnxruntime
import pytest

import nmcore
from nmcore.calibration.collect import Inputs, calibration_set_for
from nmcore.errors import ArgumentError
from nmcore.plan.plan import GroupPlan, Plan
from nmcore.plugins import registry
from nmcore.plugins.states import marked, next_states, state_changes
from nmcore_onnx import backend
from proving import reasons, widths
from stepwise import FEATURES, UNITS, layer, written_out

MODELS = {"LSTM": layer, "GRU": lambda: layer("GRU"), "written out": written_out}
STEPS, BATCH = 5, 2


def outputs(model, units):
    """What some steps give, each with the states that the one before has left."""
    session = onnxruntime.InferenceSession(model)
    shape = [
        BATCH if size == "n" else units if size == UNITS else size
        for size in session.get_inputs()[1].shape
    ]
    state, rng, found = np.zeros(shape, np.float32), np.random.default_rng(1), []
    for _ in range(STEPS):
        x = rng.standard_normal((BATCH, FEATURES)).astype(np.float32)
        y, state = session.run(None, {"x": x, "state": state})
        found.append(y)
    return np.array(found)


def name_of(model):
    (group,) = backend.open(model).with_states().groups
    assert group.width == UNITS
    return group.name


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["merge", pytest.param("moments", marks=pytest.mark.slow)])
def test_copies_go_without_loss_over_many_steps(name, method):
    model = MODELS[name]()
    chosen = Plan((GroupPlan(name_of(model), UNITS, (0, 1, 2)),))
    result = nmcore.compress(model, plan=chosen, method=method, states=True, verify=True)
    small = onnx.load_from_string(result.graph.serialize())
    onnx.checker.check_model(small, full_check=True)
    sizes = [d.dim_value for d in small.graph.input[1].type.tensor_type.shape.dim]
    assert 3 in sizes
    assert UNITS not in sizes
    expected = outputs(model.SerializeToString(), UNITS)
    tolerance = 1e-5 if method == "merge" else 1e-2
    np.testing.assert_allclose(
        outputs(small.SerializeToString(), 3), expected, atol=tolerance * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", MODELS)
def test_they_stay_unless_asked_for_and_the_reason_names_the_option(name):
    model = MODELS[name]()
    assert not widths(model)
    told = [reason for node, reason in reasons(model).items() if node != "last"]
    assert told
    assert all("begins with the model's input 'state'" in reason for reason in told)
    assert all("--states" in reason for reason in told)


def test_what_is_measured_is_the_state_that_steps_leave():
    model = layer()
    graph = backend.open(model).with_states()
    assert next_states(graph) == {"state": "next"}
    session = marked(registry.runtime().session(model.SerializeToString()), graph)
    assert [spec.state for spec in session.inputs] == [False, True]
    shown = calibration_set_for(graph, session, Inputs(samples=64), seed=0)
    assert len(shown.batches) >= 16
    assert not shown.batches[0]["state"].any()
    again = session.run(shown.batches[0])[1]
    np.testing.assert_array_equal(shown.batches[1]["state"], again)


def test_data_need_not_bring_states():
    x = np.random.default_rng(0).standard_normal((64, FEATURES)).astype(np.float32)
    result = nmcore.compress(written_out(), ratio=0.5, data={"x": x}, states=True, verify=True)
    assert result.report.fidelity is None
    assert result.fidelity.n == 21  # held back
    assert "with the states that they leave" in " ".join(result.notes)


def test_the_report_tells_both_shapes():
    result = nmcore.compress(layer(), ratio=0.5, method="merge", states=True)
    (given, taken) = state_changes(result.graph)
    assert (given.name, given.output, given.after) == ("state", False, (2, None, 3))
    assert (taken.name, taken.output, taken.before) == ("next", True, (2, None, 6))
    told = result.report.to_dict()
    assert [each["after"] for each in told["states"]] == [(2, None, 3)] * 2
    note = "the input state is a state of shape (2, ?, 3) now, not (2, ?, 6)"
    assert note in told["notes"]
    assert result.plan.options["states"] is True
    again = nmcore.compress(layer(), plan=result.plan)
    assert again.graph.serialize() == result.graph.serialize()
    with pytest.raises(ArgumentError, match="states is 1"):
        nmcore.compress(layer(), states=1)


def test_a_result_with_other_states_is_compared_also_after_pickling():
    x = np.random.default_rng(0).standard_normal((64, FEATURES)).astype(np.float32)
    result = nmcore.compress(written_out(), ratio=0.5, data={"x": x}, states=True)
    compared = result.compare({"x": x}, metric="deviation")
    assert compared.n == 64
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(result))))
    assert again.compare({"x": x}, metric="deviation") == compared
    assert again.graph.serialize() == result.graph.serialize()
    assert again.report.to_dict() == result.report.to_dict()


def test_an_output_of_another_layer_is_no_next_state():
    """What is given out stays wide where nothing takes it in again."""
    model = layer("GRU")
    del model.graph.output[1:]
    assert not backend.open(model).with_states().groups
    assert "--states" not in reasons(model)["layer"]


def hidden_and_cell(*, outputs):
    """One step whose hidden state and cell are inputs of their own, and outputs in some order."""
    model = written_out()
    for node in list(model.graph.node):
        if node.name in ("hidden", "cell"):
            model.graph.node.remove(node)
    state = model.graph.input[1]
    del state.type.tensor_type.shape.dim[2:]
    state.name = "h"
    other = model.graph.input.add()
    other.CopyFrom(state)
    other.name = "c"
    ends = [model.graph.output.add() for _ in range(2)]
    for value, name in zip(ends, outputs, strict=True):
        value.CopyFrom(state)
        value.name = name
    del model.graph.output[1:2]
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("outputs", [("h1", "c1"), ("c1", "h1")])
def test_hidden_state_and_cell_as_inputs_of_their_own(outputs):
    model = hidden_and_cell(outputs=outputs)
    graph = backend.open(model).with_states()
    assert [group.width for group in graph.groups] == [UNITS]
    assert next_states(graph) == {"h": "h1", "c": "c1"}
    result = nmcore.compress(model, ratio=0.5, method="merge", states=True, verify=True)
    assert [each.after for each in state_changes(result.graph)] == [(None, 3)] * 4
    assert "states: h takes what h1 gave, c takes what c1 gave in the step before" in result.notes


def test_where_there_are_no_states_that_is_told():
    model = "examples/fashion_mnist/lenet5.onnx"
    told = "states changes nothing: no input of the model takes"
    result = nmcore.compress(model, ratio=0.5, method="merge", states=True)
    assert any(note.startswith(told) for note in result.notes)
    assert any(each.startswith(told) for each in nmcore.inspect(model, states=True).warnings)


def test_sweeps_compare_states_of_different_shapes(tmp_path):
    onnx.save(layer(), tmp_path / "m.onnx")
    x = np.random.default_rng(0).standard_normal((64, FEATURES)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    (record,) = nmcore.sweep(
        tmp_path / "m.onnx",
        methods=("merge",),
        ratios=(0.5,),
        states=True,
        evaluate_data=tmp_path / "x.npz",
    )
    assert record.error is None
    assert record.n == 64
    assert record.params < record.params_before
