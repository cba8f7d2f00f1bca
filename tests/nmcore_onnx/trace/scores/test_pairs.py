"""Queries and keys inside heads: found in every form, narrowed without loss, or declined."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import pytest

import heads
import nmcore
from chain import run
from nmcore.budgets.meter import Meter
from nmcore.group import Narrowing
from nmcore.plugins import capabilities
from nmcore_onnx import backend

RANK = 3
FORMS = {
    "written out": heads.written_out,
    "no bias": partial(heads.written_out, bias=False),
    "scaled before": partial(heads.written_out, scaled="sides", masked=False),
    "gemm": partial(heads.written_out, layer="Gemm"),
    "gemm without bias": partial(heads.written_out, layer="Gemm", bias=False),
    "scaled by its shape": heads.scaled_by_shape,
    "in the batch": heads.in_batch,
    "grouped": heads.grouped,
    "grouped, broadcast": heads.broadcast,
    "heads before the batch": heads.heads_first,
    "masked by a choice": heads.chosen,
    "masked by a choice, exchanged": partial(heads.chosen, fill=-1e4, exchanged=True),
    "einsum": heads.einsum,
    "standard": heads.standard,
    "standard, apart": partial(heads.standard, apart=True),
    "standard, grouped": partial(heads.standard, key_heads=2),
    "standard, scaled": partial(heads.standard, scale=0.3),
    "onnxruntime's": heads.multi_head,
}


def inputs(count=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, heads.LENGTH, heads.WIDTH)).astype("f4")


@pytest.mark.parametrize("form", FORMS)
def test_scores_of_low_rank_are_narrowed_without_loss(form):
    model = FORMS[form](RANK)
    (pair,) = backend.open(model).score_pairs
    assert (pair.width, pair.heads) == (heads.SIZE, heads.HEADS)
    plan = {"groups": {pair.name: range(RANK)}}
    result = nmcore.compress(
        model, plan=plan, data=inputs(), method="moments", verify=True, providers=("cpu",)
    )
    assert result.report.verified
    assert result.after.params < result.before.params
    seen = inputs(seed=1)
    (wanted,), (found,) = (
        run(each, {"input": seen})
        for each in (model, onnx.load_from_string(result.graph.serialize()))
    )
    np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("form", FORMS)
def test_the_cost_is_counted_before_it_is_saved(form):
    graph = backend.open(FORMS[form]())
    (pair,) = graph.score_pairs
    first = np.eye(heads.SIZE)[:, :5]
    maps = [np.tile(first, (count, 1, 1)) for count in (pair.heads, pair.key_heads)]
    narrow = graph.clone()
    narrow.narrow(pair, Narrowing(*maps))
    narrow.check()
    before, after = graph.cost(), narrow.cost()
    for kind in ("macs", "params"):
        meter = Meter(graph.terms(), capabilities.widths(graph), kind)
        saved = meter.saving(pair.name, 5)
        assert saved == pytest.approx(getattr(before, kind) - getattr(after, kind))
        assert saved > 0


@pytest.mark.parametrize("form", ["written out", "grouped", "gemm", "scaled by its shape"])
def test_heads_go_and_become_narrower(form):
    model = FORMS[form]()
    graph = backend.open(model)
    (pair,), (group,) = graph.score_pairs, graph.groups
    plan = {"groups": {pair.name: range(5), group.name: range(1, group.width)}}
    result = nmcore.compress(
        model, plan=plan, data=inputs(), method="moments", verify=True, providers=("cpu",)
    )
    assert {o.plan.name: len(o.plan.kept) for o in result.outcomes} == {
        group.name: group.width - 1,
        pair.name: 5,
    }
    small = onnx.load_from_string(result.graph.serialize())
    onnx.checker.check_model(small, full_check=True)
    left = pair.heads // group.width * (group.width - 1)
    shapes = {each.name: tuple(each.dims) for each in small.graph.initializer}
    weight = next(n for n in small.graph.node if n.name == pair.producers[0]).input[1]
    assert left * 5 in shapes[weight]


def declined(model):
    graph = backend.open(model)
    assert not graph.score_pairs
    return [place.reason for place in graph.declined_pairs]


def between(op, *constants, **attributes):
    """Attention with a node between the projection and the scores."""
    made = heads.Attention()
    chain = made.chain
    query, key, value = (made.apart(each, heads.HEADS, [0, 2, 1, 3]) for each in made.sides())
    chain.value = query
    query = chain.node(op, *constants, **attributes).value
    key = chain.raw("Transpose", key, perm=[0, 1, 3, 2]).value
    made.summed(chain.raw("MatMul", query, key).value, value)
    return made.finish()


ONES = np.ones(heads.SIZE, "f4")


@pytest.mark.parametrize(
    ("op", "constants", "words"),
    [
        ("LayerNormalization", [ONES, ONES], "a norm over them"),
        ("Add", [ONES], "as a rotary embedding does"),
        ("Mul", [ONES], "as a rotary embedding does"),
        ("Tanh", [], "single channels are not followed"),
        ("Concat", [np.zeros((1, heads.HEADS, heads.LENGTH, 2), "f4")], "puts others beside them"),
    ],
)
def test_what_stands_between_is_told(op, constants, words):
    attributes = {"axis": -1} if op in ("LayerNormalization", "Concat") else {}
    if op == "Concat":
        constants = [np.zeros((1, heads.HEADS, 2, heads.SIZE), "f4")]
        attributes = {"axis": 2}
    (reason,) = declined(between(op, *constants, **attributes))
    assert words in reason
    assert op in reason


def test_keys_that_others_read_stay():
    model = heads.written_out()
    added = next(node for node in model.graph.node if node.name == "add2")
    output = onnx.helper.make_tensor_value_info(
        added.output[0], onnx.TensorProto.FLOAT, ["n", heads.LENGTH, heads.HEADS * heads.SIZE]
    )
    model.graph.output.append(output)
    (reason,) = declined(model)
    assert reason == "its keys are read by others, too, or given out"


def test_products_without_a_softmax_are_none():
    model = heads.written_out(masked=False)
    (softmax,) = (node for node in model.graph.node if node.op_type == "Softmax")
    softmax.op_type = "Relu"
    del softmax.attribute[:]
    assert declined(model) == []


def test_a_weight_that_others_read_stays():
    model = heads.written_out(bias=False)
    first, second = (node for node in model.graph.node if node.name in ("matmul1", "matmul2"))
    second.input[1] = first.input[1]
    (reason,) = declined(model)
    assert "whose weight others read, too" in reason


@pytest.mark.parametrize(
    "form",
    [
        heads.turned,
        partial(heads.turned, keys=True),
        heads.interleaved,
        partial(heads.broadcast, inner=False),
        heads.every_pair,
        partial(heads.every_pair, named=False),
    ],
)
def test_heads_that_meet_in_another_order_stay(form):
    (reason,) = declined(form())
    assert reason == "its query heads meet key heads in another order than they are made"


@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize(
    "given", [{"fill": 0.0}, {"fill": -1.0}, {"fill": -9e3}, {"fill": 1e4}, {"known": False}]
)
def test_scores_beside_which_others_count_stay(given, exchanged):
    (reason,) = declined(heads.chosen(exchanged=exchanged, **given))
    assert reason == "scores pass Where 'where1', beside which others may count"


@pytest.mark.parametrize("operator", ["Mul", "Div"])
def test_masked_scores_that_are_scaled_stay(operator):
    (reason,) = declined(heads.chosen(fill=-1e4, scaled=operator))
    assert reason == f"masked scores pass {operator} '{operator.lower()}1'"
