"""Keys and values of the past lose whole heads where that is asked for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import nmcore
import past
from chain import Chain
from nmcore.calibration.collect import Inputs, calibration_set_for
from nmcore.calibration.random_inputs import random_inputs_for
from nmcore.errors import ArgumentError, DataError
from nmcore.plan.plan import GroupPlan, Plan
from nmcore.plugins import registry
from nmcore.plugins.states import marked, next_states, state_changes
from nmcore_onnx import backend
from past import HEADS, LENGTH_FIRST, SIZE, TURNED, WIDTH, generated
from proving import reasons, widths

VALUES_FIRST = {"inputs": ["past_value", "input", "past_key"]}
MIXED = {"outputs": ["present_value", "y", "present_key"]}
FORMS = {
    "written out": (past.written_out, HEADS),
    "grouped": (lambda: past.written_out(groups=2), 2),
    "length before heads": (lambda: past.written_out(LENGTH_FIRST), HEADS),
    "keys turned": (lambda: past.written_out(TURNED), HEADS),
    "values first": (lambda: past.written_out(**VALUES_FIRST), HEADS),
    "given out in another order": (lambda: past.written_out(**MIXED), HEADS),
    "in one": (past.in_one, HEADS),
    "standard": (past.standard, HEADS),
    "standard, grouped": (lambda: past.standard(groups=2), 2),
    "standard, apart": (lambda: past.standard(apart=True), HEADS),
    "onnxruntime's": (past.multi_head, HEADS),
    "onnxruntime's, grouped": (past.grouped_queries, 2),
    "onnxruntime's, with its weight": (past.packed, HEADS),
}

IN_ONE = ("in one", "onnxruntime's, with its weight")


@pytest.mark.parametrize("form", FORMS)
def test_heads_that_are_copies_go_without_loss_over_many_steps(form):
    make, groups = FORMS[form]
    model = make()
    (group,) = backend.open(model).with_states().groups
    assert group.width == groups
    chosen = Plan((GroupPlan(group.name, groups, tuple(range(groups // 2))),))
    result = nmcore.compress(model, plan=chosen, method="merge", states=True, verify=True)
    small = onnx.load_from_string(result.graph.serialize())
    onnx.checker.check_model(small, full_check=True)
    kinds = () if form in IN_ONE else ("key", "value")
    expected = generated(model, groups, kinds=kinds)
    found = generated(small, groups // 2, kinds=kinds)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    told = state_changes(result.graph)
    assert len(told) == (2 if form in IN_ONE else 4)
    assert all(groups // 2 in each.after and groups in each.before for each in told)


@pytest.mark.parametrize("form", FORMS)
def test_they_stay_unless_asked_for_and_the_reason_names_the_option(form):
    make, _ = FORMS[form]
    assert not widths(make())
    told = [reason for reason in reasons(make()).values() if "model's output 'y'" not in reason]
    assert told
    assert all("of the past" in each and "--states allows it" in each for each in told)


def test_which_output_gives_a_past_is_seen_from_what_it_is_put_before():
    model = past.written_out(**MIXED)
    hints = backend.open(model).input_hints()
    assert {name: hint.next_state for name, hint in hints.items()} == {
        "past_key": "present_key",
        "past_value": "present_value",
    }
    assert {hint.grows for hint in hints.values()} == {2}
    assert next_states(backend.open(model)) == {}


def test_a_past_that_no_output_gives_keeps_its_heads():
    model = past.written_out()
    del model.graph.output[1:]
    graph = backend.open(model).with_states()
    assert not graph.groups
    assert graph.input_hints() == {}


def test_branches_that_an_input_chooses_keep_all_heads():
    model = past.merged()
    assert not backend.open(model).with_states().groups
    assert "meet values whose channels must stay" in reasons(model)["matmul2"]
    assert not nmcore.compress(model, ratio=0.5, method="merge", states=True).removed


def test_a_cache_of_fixed_length_keeps_all_heads():
    model = past.static()
    assert not backend.open(model).with_states().groups
    assert "ScatterND" in reasons(model)["matmul2"]


def test_a_model_that_gives_its_input_with_something_behind_has_no_past():
    chain = Chain(("n", 4, "s", 6)).conv(4, 1)
    model = chain.raw("Concat", "input", chain.value, axis=2).node("Relu").build()
    model.graph.output.append(model.graph.output[0])
    model.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info("concat1_out", onnx.TensorProto.FLOAT, ["n", 4, "t", 6])
    )
    onnx.checker.check_model(model, full_check=True)
    assert backend.open(model).input_hints() == {}


def test_a_window_of_the_past_is_what_steps_leave():
    """Its length stays the same: the oldest goes."""
    made = past.Decoder()
    chain = made.chain
    query, key, value = (made.apart(each, HEADS, "bhsd") for each in made.sides())
    both = []
    for kind, each in (("key", key), ("value", value)):
        made.inputs[f"past_{kind}"] = made.outputs[f"present_{kind}"] = ["batch", HEADS, 5, SIZE]
        both.append(chain.raw("Concat", f"past_{kind}", each, axis=2).value)
        bounds = [chain.constant(np.array([bound])) for bound in (-5, 2**62, 2)]
        chain.raw("Slice", both[-1], *bounds)
        chain.nodes[-1].output[0] = f"present_{kind}"
    key = chain.raw("Transpose", both[0], perm=[0, 1, 3, 2]).value
    model = made.finish(made.attended(query, key, both[1]))
    graph = backend.open(model).with_states()
    assert [group.width for group in graph.groups] == [HEADS]
    assert next_states(graph) == {"past_key": "present_key", "past_value": "present_value"}
    assert nmcore.compress(model, ratio=0.5, method="merge", states=True, verify=True).removed


def test_another_reader_of_the_past_keeps_its_heads():
    """Who takes heads by their number does not know which are left."""
    model = past.written_out()
    first = onnx.helper.make_node("ReduceMax", ["past_key"], ["largest"], "largest", axes=[1, 2])
    model.graph.node.insert(0, first)
    kind = onnx.TensorProto.FLOAT
    value = onnx.helper.make_tensor_value_info("largest", kind, ["batch", 1, 1, SIZE])
    model.graph.output.append(value)
    assert not backend.open(model).with_states().groups


def test_inputs_of_another_length_than_new_ones_are_made_for_the_proof():
    """Masks are as long as past and new positions together."""
    model = past.written_out()
    mask = onnx.helper.make_tensor_value_info(
        "mask", onnx.TensorProto.INT64, ["batch", "past + length"]
    )
    model.graph.input.append(mask)
    nodes = [
        onnx.helper.make_node("Cast", ["mask"], ["mask_cast"], to=1),
        onnx.helper.make_node("Unsqueeze", ["mask_cast", "mask_axes"], ["mask_out"]),
        onnx.helper.make_node("Mul", ["softmax1_out", "mask_out"], ["masked"]),
    ]
    axes = onnx.numpy_helper.from_array(np.array([1, 2]), "mask_axes")
    model.graph.initializer.append(axes)
    place = [node.op_type for node in model.graph.node].index("Softmax") + 1
    model.graph.node[place].input[0] = "masked"
    for node in reversed(nodes):
        model.graph.node.insert(place, node)
    onnx.checker.check_model(model, full_check=True)
    session = registry.runtime().session(model.SerializeToString())
    hints = backend.open(model).input_hints()
    feeds = random_inputs_for(session, hints=hints, past=5)
    assert feeds["past_key"].shape == (1, HEADS, 5, SIZE)
    assert feeds["mask"].shape == (1, 37)
    assert nmcore.compress(model, ratio=0.5, method="merge", states=True, verify=True).removed


def test_work_of_the_past_is_counted_at_its_stated_length():
    counted = {}
    for length in (0, 32):
        shapes = {"input": (1, 8, WIDTH), "past_key": (1, HEADS, length, SIZE)}
        graph = registry.open_graph(past.written_out(), shapes)
        counted[length] = graph.cost().macs
    # Each of 8 queries meets 32 more keys, and sums as many more values, in every head.
    assert counted[32] - counted[0] == 8 * 32 * HEADS * SIZE * 2
    shapes = {"past_key": (1, HEADS, 32, SIZE)}
    result = nmcore.compress(
        past.written_out(), ratio=0.5, method="merge", states=True, verify=True, input_shape=shapes
    )
    assert 2 * result.after.macs == result.before.macs
    assert registry.open_graph(past.written_out()).cost().assumed["past_key"] == (1, HEADS, 0, SIZE)


def feeds(count=64, length=3, before=4):
    rng = np.random.default_rng(0)
    shape = (count, HEADS, before, SIZE)
    return {
        "input": rng.standard_normal((count, length, WIDTH)).astype("f4"),
        "past_key": rng.standard_normal(shape).astype("f4"),
        "past_value": rng.standard_normal(shape).astype("f4"),
    }


def test_data_with_a_past_are_measured_on_and_compared():
    model = past.written_out()
    result = nmcore.compress(model, ratio=0.5, data=feeds(), states=True, verify=True)
    exact = result.compare(feeds(), metric="deviation")
    assert exact.n == 64
    (group,) = result.outcomes
    kept = group.plan.kept
    small = onnx.load_from_string(result.graph.serialize())
    given = feeds()
    mine = past.run(small, {**given, **{n: given[n][:, kept] for n in ("past_key", "past_value")}})
    full = past.run(model, given)
    share = np.square(mine[0] - full[0]).sum() / np.square(full[0]).sum()
    assert exact.deviation == pytest.approx(100 * np.sqrt(share), rel=1e-3)


def test_data_without_a_past_begin_with_none():
    model = past.written_out()
    data = {"input": feeds()["input"]}
    result = nmcore.compress(model, ratio=0.5, data=data, states=True, verify=True)
    assert result.fidelity.n == 21  # held back


def test_synthetic_inputs_begin_with_no_past():
    model = past.written_out()
    graph = backend.open(model).with_states()
    session = marked(registry.runtime().session(model.SerializeToString()), graph)
    shown = calibration_set_for(graph, session, Inputs(samples=64), seed=0)
    for batch in shown.batches:
        assert batch["past_key"].shape == (len(batch["input"]), HEADS, 0, SIZE)
    assert sum(len(batch["input"]) for batch in shown.batches) == 64


def test_files_with_different_heads_are_evaluated_without_a_past(tmp_path):
    model = past.written_out()
    onnx.save(model, tmp_path / "m.onnx")
    result = nmcore.compress(model, ratio=0.5, method="merge", states=True)
    result.save(tmp_path / "s.onnx")
    both = [tmp_path / "m.onnx", tmp_path / "s.onnx"]
    found = nmcore.evaluate(both, {"input": feeds()["input"]})
    assert [each.n for each in found] == [64, 64]
    with pytest.raises(DataError, match="past_key, whose heads are not the same"):
        nmcore.evaluate(both, feeds())
    same = nmcore.evaluate([both[0], both[0]], feeds())
    assert same[1].deviation == 0


def test_a_plan_of_states_is_repeated():
    model = past.written_out()
    result = nmcore.compress(model, ratio=0.5, method="merge", states=True)
    again = nmcore.compress(model, plan=result.plan)
    assert again.graph.serialize() == result.graph.serialize()
    assert result.plan.options["states"] is True
    with pytest.raises(ArgumentError):
        nmcore.compress(model, ratio=0.5, states="yes")


def test_which_output_a_past_comes_from_is_told():
    result = nmcore.compress(past.written_out(), ratio=0.5, method="merge", states=True)
    (note,) = (each for each in result.notes if each.startswith("states"))
    pairs = ("past_key takes what present_key gave", "past_value takes what present_value gave")
    assert note == f"states: {', '.join(pairs)} in the step before"
