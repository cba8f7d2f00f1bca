"""Layers in the bodies of If, Loop and Scan are compressed like any others."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

import bodies
import nmcore
from chain import run
from nmcore.errors import VerificationError
from nmcore.evaluation.verification import verify
from nmcore_onnx import backend
from nmcore_onnx.rewrite import rewrite
from proving import reasons, widths

FORMS = {
    "branches": (bodies.branches, {"conv": 8, "if.else.conv": 6}),
    "norms": (lambda: bodies.branches(norm=True), {"conv": 8, "if.else.conv": 6}),
    "loop": (bodies.loop, {"step": 8}),
    "scan": (bodies.scan, {"step": 8}),
    "written_out": (bodies.written_out, {"first": 8, "if.else.first": 6}),
    "nested": (bodies.nested, {"step": 8, "if.then.loop.choice.else.step": 6, "if.else.step": 7}),
    "crossing": (bodies.crossing, {"first": 8, "yes": 6}),
    "shared": (lambda: bodies.crossing(other="shared"), {"first": 8, "yes": 6}),
}


def feeds_of(model):
    """Random inputs, once for each combination of what Ifs are told."""
    rng = np.random.default_rng(1)
    flags = [each.name for each in model.graph.input if each.type.tensor_type.elem_type == 9]
    given = {
        each.name: rng.standard_normal(
            [axis.dim_value or 2 for axis in each.type.tensor_type.shape.dim]
        ).astype("f4")
        for each in model.graph.input
        if each.name not in flags
    }
    for truths in product([np.array(True), np.array(False)], repeat=len(flags)):
        yield given | dict(zip(flags, truths, strict=True))


def assert_same(model, result, scale=1e-5):
    """Every output is the same, whichever branch runs."""
    after = ir.to_proto(result.model)
    onnx.checker.check_model(after, full_check=True)
    for feeds in feeds_of(model):
        for want, got in zip(run(model, feeds), run(after, feeds), strict=True):
            np.testing.assert_allclose(got, want, atol=scale * np.abs(want).max())


def without_twins(model, **options):
    """The result of removing one channel of each group, the twin of another."""
    keep = {name: width - 1 for name, width in widths(model).items()}
    options = {"method": "merge", "criterion": "l1", "threads": 1} | options
    return nmcore.compress(model, keep=keep, verify=True, providers=("cpu",), **options)


@pytest.mark.parametrize("form", FORMS)
def test_twins_merge_without_loss_whichever_branch_runs(form):
    make, expected = FORMS[form]
    model = make()
    assert widths(model) == expected
    result = without_twins(model)
    assert result.after.params < result.before.params
    counted = backend.open(model).cost()
    assert (result.before.params, result.before.macs) == (counted.params, counted.macs)
    assert_same(model, result)


@pytest.mark.parametrize(
    ("form", "method"),
    [("branches", "ridge"), ("branches", "auto"), ("nested", "prune"), ("crossing", "ridge")],
)
def test_half_of_the_channels_go_by_each_method(form, method):
    model = FORMS[form][0]()
    result = nmcore.compress(
        model, ratio=0.5, method=method, verify=True, samples=16, threads=1, providers=("cpu",)
    )
    assert {group.name for group in result.report.groups} == set(FORMS[form][1])
    assert all(group.kept < group.width for group in result.report.groups)
    assert result.report.verified


def test_large_weights_in_bodies_are_cut_as_they_are_written(monkeypatch):
    monkeypatch.setattr(rewrite, "LARGE", 1)
    model = bodies.branches()
    assert_same(model, without_twins(model))


def test_a_bias_in_a_body_of_a_model_whose_initialisers_are_inputs():
    """The new biases are initialisers of the main graph, listed as its inputs."""
    model = bodies.branches(ir_version=8, opset=9)
    model.ir_version = 3
    for attribute in model.graph.node[0].attribute:
        graph = attribute.g
        made = [bodies.node("Constant", [], [each.name], value=each) for each in graph.initializer]
        nodes = [*made, *graph.node]
        del graph.initializer[:], graph.node[:]
        graph.node.extend(nodes)
    assert_same(model, without_twins(model))
    biased = nmcore.compress(model, ratio=0.5, method="ridge", verify=True, threads=1)
    assert biased.report.verified


def test_a_branch_that_gives_what_keeps_its_width_keeps_that_of_the_other():
    model = bodies.crossing(other="plain")
    assert widths(model) == {"first": 8}
    assert "other branch" in reasons(model)["yes"]
    assert_same(model, without_twins(model))


def test_a_weight_that_is_read_inside_and_outside():
    """All readers are followed, and what the one outside makes is an output of the model."""
    model = bodies.crossing(outside=True)
    assert widths(model) == {"first": 8}
    assert_same(model, without_twins(model))


def test_states_of_loops_keep_their_width():
    for make in (bodies.loop, bodies.scan):
        assert "what a body gives" in reasons(make())["end"]


def test_what_is_read_in_bodies_is_merged_by_weights_alone_and_so_told():
    model = bodies.crossing()
    result = nmcore.compress(model, ratio=0.5, samples=32, threads=1, providers=("cpu",))
    told = {each.name: (each.method, each.reason) for each in result.report.groups}
    method, reason = told["first"]
    assert method != "moments"
    assert "nothing is measured" in reason
    assert told["yes"][0] in ("moments", "merge")
    (group,) = [each for each in backend.open(model).groups if each.name == "yes"]
    assert not group.unmeasured
    moments = nmcore.compress(
        model, ratio=0.5, method="moments", samples=32, threads=1, providers=("cpu",)
    )
    assert {each.name: each.method for each in moments.report.groups}["yes"] == "moments"


def test_a_model_of_which_nothing_is_measured_is_merged_and_needs_no_inputs():
    result = nmcore.compress(bodies.branches(), ratio=0.5, threads=1, providers=("cpu",))
    assert "method merge: nothing can be measured here" in result.report.notes
    assert not any("synthetic" in note for note in result.report.notes)


@pytest.mark.parametrize(
    ("form", "budget", "method"),
    [
        ("branches", "params", "auto"),
        ("nested", "macs", "merge"),
        ("crossing", "macs", "auto"),
        ("crossing", "params", "merge"),
    ],
)
def test_budgets_count_bodies(form, budget, method):
    model = FORMS[form][0]()
    result = nmcore.compress(
        model, **{budget: 0.7}, method=method, samples=16, threads=1, providers=("cpu",), round_to=1
    )
    assert result.report.budget.met
    counted = backend.open(ir.to_proto(result.model)).cost()
    assert (counted.params, counted.macs) == (result.after.params, result.after.macs)
    assert getattr(result.after, budget) > 0.5 * getattr(result.before, budget)


def test_work_in_bodies():
    """Both branches count, and a body of a loop once for each step."""
    pixels = 64
    branches = (27 * 8 + 8 * 4) * pixels + (27 * 6 + 6 * 4) * pixels
    assert backend.open(bodies.branches()).cost().macs == branches
    assert backend.open(bodies.loop()).cost().macs == 3 * 2 * 5 * 8
    assert backend.open(bodies.scan()).cost().macs == 4 * 2 * 5 * 8
    assert backend.open(bodies.nested()).cost().macs == 3 * 2 * 5 * (8 + 6) + 2 * 5 * 7


def test_an_untouched_model_keeps_its_names():
    model = bodies.branches()
    result = nmcore.compress(model, ratio=0.0, method="merge", threads=1)
    before, after = (
        {value.name for node in each.graph.all_nodes() for value in node.outputs}
        for each in (ir.from_proto(model), result.model)
    )
    assert before == after


@pytest.mark.parametrize("branch", ["then_branch", "else_branch"])
def test_the_proof_takes_both_branches(branch, monkeypatch):
    """A fault in either is found, whichever one random inputs take."""
    result = without_twins(bodies.branches())
    faulty = ir.to_proto(result.model)
    (inner,) = (each.g for each in faulty.graph.node[0].attribute if each.name == branch)
    weight = next(each for each in inner.initializer if len(each.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(1.1 * numpy_helper.to_array(weight), weight.name))
    scalings = {each.plan.name: each.scaling for each in result.outcomes}
    verify(result.graph, scalings, providers=("cpu",))
    data = faulty.SerializeToString()
    monkeypatch.setattr(type(result.graph), "serialize_alike", lambda _: data)
    with pytest.raises(VerificationError):
        verify(result.graph, scalings, providers=("cpu",))
