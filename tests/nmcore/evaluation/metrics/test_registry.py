"""Metrics by name."""

from __future__ import annotations

import pytest

from nmcore.errors import ArgumentError
from nmcore.evaluation.metrics.figures import FIGURES, SAID
from nmcore.evaluation.metrics.registry import (
    JUDGED_BY,
    METRICS,
    OF_FORM,
    check_measures_loss,
    makers_for,
    metrics_of,
)


class TestNames:
    def test_names_and_functions(self):
        def mine(original, outputs, y):
            return 0.0

        assert [*metrics_of("top5")] == ["top5"]
        assert [*metrics_of(mine)] == ["mine"]
        assert [*metrics_of(["cosine", mine])] == ["cosine", "mine"]
        assert metrics_of(None) == {}

    @pytest.mark.parametrize("given", ["top3", ["psnr", 4], 3, {"top1"}])
    def test_others(self, given):
        with pytest.raises(ArgumentError, match=r"metric is .*one of top1, top5, agreement"):
            metrics_of(given)


class TestWords:
    def test_each_form_has_metrics_and_words(self):
        assert set(OF_FORM) == set(JUDGED_BY) == set(SAID)
        assert {name for names in OF_FORM.values() for name in names} <= set(METRICS)
        for form, names in JUDGED_BY.items():
            assert set(names) <= set(OF_FORM[form])

    def test_each_figure_of_a_metric_has_words(self):
        found = {figure for make in METRICS.values() for figure in make().values()}
        assert found == set(FIGURES)


def test_what_has_no_measure():
    check_measures_loss({})
    check_measures_loss(metrics_of(["boxes", "psnr"]))
    for name in ("psnr", "mae"):
        with pytest.raises(ArgumentError, match=f"metric {name} is no measure of what is lost"):
            check_measures_loss(metrics_of(name))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["top5", "top5"], "metric top5 is given beside top5"),
        (["boxes", "boxes:detr"], "metric boxes:detr is given beside boxes, which tells boxes and"),
        ([lambda *_: 1.0, lambda *_: 2.0], "metric <lambda> is given beside <lambda>"),
    ],
)
def test_two_of_one_name(given, message):
    with pytest.raises(ArgumentError, match=message):
        metrics_of(given)


@pytest.mark.parametrize("name", ["top1", "neighbours", "new_boxes"])
def test_a_function_that_is_called_like_a_figure(name):
    def function(original, outputs, y):
        return 0.0

    function.__name__ = name
    with pytest.raises(ArgumentError, match=f"metric {name} is given beside .*, which tells "):
        metrics_of(function)


def test_what_shows_a_loss_is_looked_at_whatever_is_asked_for():
    asked = metrics_of("mae")
    assert [*makers_for("scores", asked)] == ["top1", "agreement", "deviation", "mae"]
    assert [*makers_for("masks", asked)] == ["deviation", "iou", "mae"]
    assert [*makers_for("masks", {})] == ["deviation", "iou", "mae"]
