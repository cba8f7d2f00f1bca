"""Networks run in parts: inputs that judge fits follow only where there are fits to judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chain import Chain
from nmcore.calibration.synthetic import synthesise
from nmcore.compression import carrier, refit
from nmcore.compression.reconstruction import Choice, Reconstruction
from nmcore.plugins import registry


def walk(count=24, judges=8):
    """Layers whose rows become fewer: 5 x 5 positions, then one."""
    chain = Chain(("n", 3, 12, 12))
    chain.conv(8, pads=[1] * 4).node("Relu").conv(12, strides=[2, 2]).node("Relu")
    model = chain.node("GlobalAveragePool").node("Flatten").gemm(10).node("Relu").gemm(5).build()
    graph = registry.open_graph(model)
    specs = registry.runtime().session(graph.serialize(), providers=("cpu",)).inputs
    shown, unseen = (
        synthesise(specs, [(1, 3, 12, 12)], number, seed=number) for number in (count, judges)
    )
    calibration = replace(shown, unseen=unseen.batches)
    return Reconstruction(graph, registry.runtime(), calibration, ("cpu",))


def measured(found, ample, monkeypatch):
    """The sums of each step of a walk, whose fits take no notice of inputs that judge."""
    monkeypatch.setattr(refit, "AMPLE", ample)
    monkeypatch.setattr(refit, "TRIES", 0)
    runs, sums = found._runs, []
    original = runs.sums

    def noted(*arguments, **options):
        sums.append(original(*arguments, **options))
        return sums[-1]

    monkeypatch.setattr(runs, "sums", noted)
    steps = found.steps(found.graph.groups)
    choices = {group.name: Choice(group.width // 2) for group in found.graph.groups}
    for number, readings in enumerate(steps, start=1):
        later = [reading for each in steps[number:] for reading in each]
        for outcome in found.choose(readings, later, choices):
            del choices[outcome.plan.name]
    return sums


def test_they_are_run_only_where_rows_are_few(monkeypatch):
    held = [[each.held.rows for each in step] for step in measured(walk(), 5, monkeypatch)]
    assert held == [[0], [8], [8]]


def test_they_catch_up_through_all_that_has_changed(monkeypatch):
    every = measured(walk(), float("inf"), monkeypatch)
    last = measured(walk(), 5, monkeypatch)
    for all_along, late in zip(every[1:], last[1:], strict=True):
        one, other = (step[0].held.measured() for step in (all_along, late))
        assert one.rows == other.rows == 8
        np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(one.cross, other.cross, rtol=1e-4, atol=1e-6)


def test_none_are_run_where_there_are_none(monkeypatch):
    found = walk()
    found.calibration = replace(found.calibration, unseen=())
    sums = measured(found, float("inf"), monkeypatch)
    assert all(each.judges() is None for step in sums for each in step)
    assert not found._runs._held.batches


@pytest.mark.parametrize("numbers", [1, carrier.PROBE_NUMBERS])
def test_moments_do_not_depend_on_how_many_fit_into_memory(monkeypatch, numbers):
    whole = measured(walk(), float("inf"), monkeypatch)
    monkeypatch.setattr(carrier, "PROBE_NUMBERS", numbers)
    for one, other in zip(whole, measured(walk(), float("inf"), monkeypatch), strict=True):
        for both in zip(one, other, strict=True):
            first, second = (each.held.measured().covariance for each in both)
            np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-7)
