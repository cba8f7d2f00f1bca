"""What results are judged by, from Python."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain
from nmcore.errors import ArgumentError

OPTIONS = {"providers": ("cpu",), "threads": 1}
X = np.random.default_rng(0).standard_normal((40, 3, 6, 6)).astype(np.float32)


@pytest.fixture
def model(tmp_path):
    chain = Chain(("n", 3, 6, 6)).conv(8).node("Relu").conv(8).node("Relu")
    onnx.save(chain.node("GlobalAveragePool").node("Flatten").gemm(4).build(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def likeness(original, outputs, y):
    """One where both models give the same, and less the more they differ."""
    assert len(original) == len(outputs) == 1
    return 1 - float(np.abs(outputs[0] - original[0]).mean())


def test_a_function_of_the_results(model):
    result = nmcore.compress(model, ratio=0.5, data=X, metric=likeness, **OPTIONS)
    found = result.fidelity
    assert [*found.metrics] == ["likeness"]
    assert found.metrics["likeness"] < 1 == found.before["likeness"]
    assert found.loss.metric == "likeness"
    assert found.loss.points == pytest.approx(1 - found.metrics["likeness"], abs=1e-5)
    assert result.report.fidelity == found
    assert "likeness" in repr(result)
    assert "metric=['likeness']" in result.call


def test_a_limit_by_a_function(model):
    options = {"data": X, "metric": likeness} | OPTIONS
    mild = nmcore.compress(model, max_drop=0.1, **options)
    assert mild.notes[0].startswith("likeness 0.")
    assert " points lower on 20 inputs of data that nothing was measured on" in mild.notes[0]
    assert mild.budget.reached <= 0.1
    assert nmcore.compress(model, max_drop=0.5, **options).after.macs < mild.after.macs


def test_what_each_group_costs_by_a_function(model):
    found = nmcore.sensitivity(model, data=X, metric=likeness, providers=("cpu",))
    assert found.measure == "likeness"
    assert all(drop >= 0 for group in found.groups for drop in group.drop)
    assert "drop: likeness lost, measured on" in repr(found)


def test_cells_are_told_by_functions(model, tmp_path):
    np.savez(tmp_path / "d.npz", x=X)
    options = {"evaluate_data": tmp_path / "d.npz", "methods": ["prune"], "ratios": [0.5]}
    (record,) = nmcore.sweep(model, metric=likeness, **options, providers=("cpu",))
    assert record.metrics["likeness"] < 1 == record.metrics_before["likeness"]
    assert record.key["metric"] == ["likeness"]


def test_methods_that_measure_nothing_are_judged_on_the_data(model):
    result = nmcore.compress(model, ratio=0.5, method="merge", data=X, **OPTIONS)
    assert result.notes[0] == "method merge measures nothing: data is what results are judged on"
    assert (result.fidelity.n, result.fidelity.synthetic, result.fidelity.held) == (40, False, True)
    assert result.fidelity.limit == "which nothing was fitted to"
    alone = nmcore.compress(model, ratio=0.5, method="merge", **OPTIONS)
    assert alone.graph.serialize() == result.graph.serialize()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "top3"}, "metric is 'top3'; one of top1, top5"),
        ({"metric": [likeness, likeness]}, "metric likeness is given beside likeness"),
        ({"metric": "mae", "max_drop": 1, "data": X}, "metric mae is no measure of what is lost"),
    ],
)
def test_what_is_no_metric(model, options, message):
    with pytest.raises(ArgumentError, match=message):
        nmcore.compress(model, **({"ratio": 0.5} if "max_drop" not in options else {}), **options)
