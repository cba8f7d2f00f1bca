"""Narrower heads in a budget: allotted beside groups, narrowed in the walk, told and replayed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import heads
import nmcore
from chain import run
from encoder import encoder, padded, texts
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.compression.heads import HeadNarrowing
from nmcore.compression.reconstruction import Reconstruction
from nmcore.errors import ArgumentError
from nmcore.plugins import registry
from nmcore_onnx import backend


def inputs(count=24, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, heads.LENGTH, heads.WIDTH)).astype("f4")


def compressed(model, **options):
    return nmcore.compress(model, data=inputs(), providers=("cpu",), verify=True, **options)


def widths(result):
    return {o.plan.name: len(o.plan.kept) for o in result.outcomes}


@pytest.fixture(scope="module")
def cut():
    model = heads.written_out(2)
    return model, compressed(model, macs=0.78)


def test_a_budget_takes_channels_that_the_scores_do_not_need(cut):
    model, result = cut
    (pair,), (group,) = backend.open(model).score_pairs, backend.open(model).groups
    assert widths(result) == {group.name: 4, pair.name: 4}
    assert result.budget.met
    (wanted,), (found,) = (
        run(each, {"input": inputs(seed=1)})
        for each in (model, onnx.load_from_string(result.graph.serialize()))
    )
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


def test_the_account_tells_of_it(cut):
    _, result = cut
    (told,) = (group for group in result.report.groups if group.width == heads.SIZE)
    assert (told.kept, told.merged, told.left_out, told.method) == (4, 4, 0, "moments")
    assert told.reason.startswith("query/key width 8 -> 4 in each of 4 heads")
    assert told.curve.original
    assert told.curve.chosen == pytest.approx(0, abs=1e-4)


def test_its_plan_gives_the_same_again(cut, tmp_path):
    model, result = cut
    result.plan.save(tmp_path / "plan.json")
    again = compressed(model, plan=tmp_path / "plan.json")
    assert again.graph.serialize() == result.graph.serialize()


def test_a_plan_keeps_the_first_channels_and_measures(cut):
    model, _ = cut
    (pair,) = backend.open(model).score_pairs
    with pytest.raises(ArgumentError, match="of these the first ones are kept"):
        compressed(model, plan={"groups": {pair.name: [0, 2]}})
    with pytest.raises(ArgumentError, match="which takes method moments; the method is merge"):
        compressed(model, plan={"groups": {pair.name: [0, 1]}}, method="merge")
    with pytest.raises(ArgumentError, match="0 to 7"):
        compressed(model, plan={"groups": {pair.name: range(9)}})


@pytest.mark.parametrize(
    "options", [{"macs": 0.8, "method": "merge"}, {"ratio": 0.5}, {"macs": 0.8, "exclude": "*"}]
)
def test_otherwise_heads_stay_as_wide_as_they_were(cut, options):
    model, _ = cut
    (pair,) = backend.open(model).score_pairs
    if "exclude" in options:
        options = {**options, "exclude": [pair.name], "macs": 0.9}
    assert pair.name not in widths(compressed(model, **options))


def test_padding_does_not_count():
    feeds = padded(texts(16))
    graph = backend.open(encoder())
    (pair,) = graph.score_pairs
    sums = []
    for mask in (None, "attention_mask"):
        calibration = CalibrationSet([feeds], 16, True, "texts", mask=mask)
        walk = Reconstruction(graph.clone(), registry.runtime(), calibration, ("cpu",))
        walk.prepare()
        sums.append(walk.score_sums([pair])[0])
        assert HeadNarrowing(walk).curves([pair])[pair.name].error[-1] > 0
    assert sums[0].rows == feeds["attention_mask"].size
    assert sums[1].rows == feeds["attention_mask"].sum()


def test_two_widths_are_tried():
    graph = backend.open(heads.written_out())
    (pair,) = graph.score_pairs
    calibration = CalibrationSet([{"input": inputs()}], 24, True, "noise")
    narrowing = HeadNarrowing(Reconstruction(graph, registry.runtime(), calibration, ("cpu",)))
    curves = narrowing.curves([pair])
    tried = narrowing.trials(curves)
    assert [each.narrowing.width for each in tried][-1] == pair.width // 2
    error = curves[pair.name].error
    assert [each.error for each in tried] == [error[7 - each.narrowing.width] for each in tried]
