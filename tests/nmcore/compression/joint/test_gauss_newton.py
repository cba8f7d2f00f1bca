"""Two layers fitted together: against the exact step, and against fitting the last one alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmcore.compression.joint import gauss_newton
from nmcore.compression.joint.gauss_newton import Layers, refit_pair


def relu(rows):
    return np.maximum(rows, 0)


def problem(count=400, activation=np.tanh, seed=0):
    """A network of eight channels, and three of them to stand for all."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 5)) @ rng.standard_normal((5, 5)) + 1
    first, last = rng.standard_normal((5, 8)) / 2, rng.standard_normal((8, 4))
    shift, bias = rng.standard_normal(8), rng.standard_normal(4)
    original = Layers(first, shift, activation, last, bias)
    kept = replace(original, first=first[:, :3], shift=shift[:3], last=last[:3])
    return x, original.outputs(x), kept


def error(layers, x, wanted):
    return np.square(layers.outputs(x) - wanted).sum(axis=1).mean()


@pytest.mark.parametrize("activation", [np.tanh, relu])
def test_both_layers_beat_the_last_alone(activation):
    x, wanted, kept = problem(activation=activation)
    channels = np.column_stack([activation(kept.made(x)), np.ones(len(x))])
    best = channels @ np.linalg.lstsq(channels, wanted, rcond=None)[0]
    found = refit_pair(x, wanted, kept, ridge=1e-3, last_ridge=1e-6)
    assert error(found, x, wanted) < 0.7 * np.square(best - wanted).sum(axis=1).mean()


def test_the_step_is_that_of_the_normal_equations(monkeypatch):
    """Written down afresh with the whole Jacobian, and the pull as more rows of it."""
    monkeypatch.setattr(gauss_newton, "_SOLVED", 1e-9)
    x, wanted, kept = problem(count=60)
    ridge = 0.3
    rows = np.column_stack([x - x.mean(axis=0), np.ones(len(x))])
    slope = 1 - np.tanh(kept.made(x)) ** 2
    jacobian = np.einsum("nf,np,po->nofp", rows, slope, kept.last).reshape(-1, 6 * 3)
    missing = (wanted - kept.outputs(x)).ravel()
    weight = (np.square(kept.last).sum(axis=1) * np.square(slope).mean(axis=0)).mean()
    pull = np.full((6, 3), ridge * x.var(axis=0).mean() * weight)
    pull[-1] = 0
    normal = jacobian.T @ jacobian / len(x) + np.diag(pull.ravel())
    expected = np.linalg.solve(normal, jacobian.T @ missing / len(x)).reshape(6, 3)
    found = gauss_newton._step(x, wanted, kept, ridge)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)


def test_what_is_right_stays():
    x, _, kept = problem()
    found = refit_pair(x, kept.outputs(x), kept, ridge=1e-3, last_ridge=1e-3)
    np.testing.assert_allclose(found.outputs(x), kept.outputs(x), atol=1e-9)


def test_a_strong_pull_leaves_the_weights():
    x, wanted, kept = problem()
    found = refit_pair(x, wanted, kept, ridge=1e9, last_ridge=1e9)
    np.testing.assert_allclose(found.first, kept.first, atol=1e-6)
    np.testing.assert_allclose(found.last, kept.last, atol=1e-6)
    assert error(found, x, wanted) < error(kept, x, wanted)


@pytest.mark.parametrize("count", [1, 3])
def test_few_inputs_and_features_that_never_change(count):
    x, wanted, kept = problem()
    x = x[:count].copy()
    x[:, 0] = 3.0
    found = refit_pair(x, wanted[:count], kept, ridge=1e-2, last_ridge=1e-2)
    assert np.isfinite(found.outputs(x)).all()
    np.testing.assert_allclose(found.first[0], kept.first[0])


def test_channels_that_never_fire():
    x, wanted, kept = problem(activation=relu)
    silent = replace(kept, shift=kept.shift - 100)
    found = refit_pair(x, wanted, silent, ridge=1e-2, last_ridge=1e-2)
    np.testing.assert_allclose(found.outputs(x), wanted.mean(axis=0) * np.ones_like(wanted))
