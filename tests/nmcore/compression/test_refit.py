"""New weights for what reads the kept channels, against plain least squares on the rows."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.compression.moments import Moments
from nmcore.compression.refit import (
    FACTOR,
    error_on,
    features,
    loosened_refit,
    mixed,
    refit,
    validated_refit,
)

ROWS = 400


def moments_of(x, y):
    covariance = np.cov(x, rowvar=False, bias=True).reshape(x.shape[1], -1)
    cross = (x - x.mean(0)).T @ (y - y.mean(0)) / len(x)
    return Moments(len(x), x.mean(0), covariance, y.mean(0), y.var(0), cross)


@pytest.fixture
def data():
    """Rows of 5 channels with 2 taps, off centre and correlated, and 3 targets."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, 10)) @ rng.standard_normal((10, 10)) + rng.standard_normal(10)
    y = x @ rng.standard_normal((10, 3)) + 0.3 * rng.standard_normal((ROWS, 3)) + 5
    return x, y


OWN = features(np.array([0, 2, 3]), 2)


def test_features_of_channels():
    assert OWN.tolist() == [0, 1, 4, 5, 6, 7]
    assert features(np.array([], dtype=int), 3).size == 0


@pytest.mark.parametrize("ridge", [0.0, 1e-2, 3.0])
def test_refit_is_ridge_regression_towards_the_start(data, ridge):
    x, y = data
    start = np.random.default_rng(1).standard_normal((6, 3))
    part = x[:, OWN] - x[:, OWN].mean(0)
    root = np.sqrt(ridge * part.var(0).mean())
    left = np.concatenate([part / np.sqrt(ROWS), root * np.eye(6)])
    right = np.concatenate([(y - y.mean(0)) / np.sqrt(ROWS), root * start])
    expected = np.linalg.lstsq(left, right, rcond=None)[0]
    weights, bias = refit(moments_of(x, y), start, OWN, ridge=ridge)
    np.testing.assert_allclose(weights, expected, atol=1e-8)
    residual = y - x[:, OWN] @ weights - bias
    np.testing.assert_allclose(residual.mean(0), 0, atol=1e-9)


def test_without_a_pull_it_is_the_regression_with_an_intercept(data):
    x, y = data
    weights, bias = refit(moments_of(x, y), np.zeros((6, 3)), OWN, ridge=0)
    design = np.column_stack([x[:, OWN], np.ones(ROWS)])
    expected = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(np.vstack([weights, bias]), expected, atol=1e-8)


def test_a_strong_pull_leaves_the_start(data):
    x, y = data
    start = np.ones((6, 3))
    weights, bias = refit(moments_of(x, y), start, OWN, ridge=1e9)
    np.testing.assert_allclose(weights, start, atol=1e-6)
    np.testing.assert_allclose(bias, y.mean(0) - x[:, OWN].mean(0) @ start, atol=1e-5)


def test_a_start_that_is_right_stays(data):
    x, _ = data
    start = np.random.default_rng(2).standard_normal((6, 3))
    weights, bias = refit(moments_of(x, x[:, OWN] @ start + 7), start, OWN, ridge=0.1)
    np.testing.assert_allclose(weights, start, atol=1e-9)
    np.testing.assert_allclose(bias, 7, atol=1e-8)


class TestMixed:
    def test_nothing_removed_changes_nothing(self, data):
        x, y = data
        matrix = np.random.default_rng(4).standard_normal((10, 3))
        folded = mixed(moments_of(x, y), matrix, np.arange(5), 2, ridge=0.5)
        np.testing.assert_array_equal(folded, matrix)

    def test_kept_channels_stay_themselves(self, data):
        """Weights that read kept channels only do not change, however strong the ridge is."""
        x, y = data
        matrix = np.zeros((10, 3))
        matrix[OWN] = np.random.default_rng(5).standard_normal((6, 3))
        folded = mixed(moments_of(x, y), matrix, np.array([0, 2, 3]), 2, ridge=0.5)
        np.testing.assert_allclose(folded, matrix[OWN], atol=1e-12)

    def test_uncorrelated_channels_are_left_out(self):
        moments = Moments(9, np.zeros(4), np.diag([1.0, 2, 3, 4]), *[np.zeros(2)] * 2, None)
        matrix = np.arange(8.0).reshape(4, 2)
        folded = mixed(moments, matrix, np.array([1, 3]), 1, ridge=1e-3)
        np.testing.assert_allclose(folded, matrix[[1, 3]])

    @pytest.mark.parametrize("taps", [1, 3])
    def test_exact_where_removed_channels_are_combinations_of_kept_ones(self, taps):
        rng = np.random.default_rng(6)
        base = rng.standard_normal((ROWS, 3, taps))
        x = np.empty((ROWS, 5, taps))
        kept = np.array([0, 2, 4])
        x[:, kept] = base
        x[:, 1] = base[:, 0] - 2 * base[:, 2]
        x[:, 3] = 0.3 * base[:, 1]
        x = x.reshape(ROWS, -1)
        matrix = rng.standard_normal((5 * taps, 2))
        folded = mixed(moments_of(x, x @ matrix), matrix, kept, taps, ridge=1e-12)
        np.testing.assert_allclose(x[:, features(kept, taps)] @ folded, x @ matrix, atol=1e-8)

    def test_it_is_least_squares_with_one_matrix_for_all_taps(self, data):
        x, y = data
        kept, gone = np.array([0, 2, 3]), np.array([1, 4])
        matrix = np.random.default_rng(7).standard_normal((10, 3))
        centred = (x - x.mean(0)).reshape(ROWS, 5, 2)
        rows = centred.transpose(0, 2, 1).reshape(-1, 5)  # taps are more rows
        root = np.sqrt(0.1 * np.square(rows[:, kept]).mean(0).mean())
        left = np.concatenate([rows[:, kept] / np.sqrt(len(rows)), root * np.eye(3)])
        right = np.concatenate([rows[:, gone] / np.sqrt(len(rows)), np.zeros((3, 2))])
        rebuilt = np.linalg.lstsq(left, right, rcond=None)[0]
        own = matrix.reshape(5, 2, 3)
        expected = own[kept] + np.tensordot(rebuilt, own[gone], axes=1)
        folded = mixed(moments_of(x, y), matrix, kept, 2, ridge=0.1)
        np.testing.assert_allclose(folded, expected.reshape(6, 3), atol=1e-9)

    def test_channels_that_never_move(self):
        """A layer whose activations are all constant has nothing to be made up for."""
        moments = Moments(9, np.ones(6), np.zeros((6, 6)), np.zeros(1), np.zeros(1), None)
        matrix = np.arange(6.0)[:, None]
        folded = mixed(moments, matrix, np.array([1]), 2, ridge=1e-3)
        np.testing.assert_allclose(folded, matrix[2:4])


def overfitted(rng, rows):
    """Fewer rows than features, of which one alone matters, and plenty of others to judge by."""
    few, many = (rng.standard_normal((count, 20)) for count in (rows, 4000))
    true = np.zeros((20, 3))
    true[0] = 2.0
    few_y, many_y = (x @ true + rng.standard_normal((len(x), 3)) for x in (few, many))
    return of_rows(few, few_y), of_rows(many, many_y)


def of_rows(x, y):
    apart, around = x - x.mean(0), y - y.mean(0)
    covariance, cross = apart.T @ apart / len(x), apart.T @ around / len(x)
    return Moments(len(x), x.mean(0), covariance, y.mean(0), y.var(0), cross)


def test_the_error_on_moments_is_that_on_rows():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)) + 1, rng.standard_normal((50, 3))
    weights, bias, own = rng.standard_normal((2, 3)), rng.standard_normal(3), np.array([1, 3])
    expected = np.square(y - x[:, own] @ weights - bias).sum(axis=1).mean()
    assert error_on(of_rows(x, y), weights, bias, own) == pytest.approx(expected)


@pytest.mark.parametrize("ridge", [1e-4, 1e-2, 1.0, 100.0])
def test_unseen_inputs_choose_the_pull(ridge):
    moments, held = overfitted(np.random.default_rng(0), rows=25)
    own, start = np.arange(20), np.zeros((20, 3))
    first = error_on(held, *refit(moments, start, own, ridge=ridge), own)
    found = error_on(held, *validated_refit(moments, held, start, own, ridge=ridge), own)
    assert found <= first
    tried = [refit(moments, start, own, ridge=ridge * FACTOR**k) for k in (-1, 1)]
    assert found <= min(error_on(held, *each, own) for each in tried) * (1 + 1e-12)


def test_the_pull_goes_where_channels_stand_for_each_other_exactly():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((4000, 6)) * np.array([1, 1, 1, 0.05, 0.05, 0.05])
    exact, noise = x @ np.ones((6, 2)), rng.standard_normal((4000, 2))
    own, start = np.arange(6), np.zeros((6, 2))
    # The pull makes up all, two thirds, a third and next to nothing of the error.
    for part, goes in ((0.0, True), (0.04, True), (0.08, False), (3.0, False)):
        moments = moments_of(x, exact + part * noise)
        drawn, _ = refit(moments, start, own, ridge=1e-2)
        found, _ = loosened_refit(moments, start, own, ridge=1e-2)
        assert (not np.array_equal(found, drawn)) == goes
        if not part:
            assert error_on(moments, *loosened_refit(moments, start, own, ridge=1e-2), own) < 1e-6


def test_the_pull_goes_where_next_to_nothing_is_left():
    """Whatever share of that it makes up: sums in single precision do not tell."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((4000, 6)) * np.array([1, 1, 1, 0.05, 0.05, 0.05])
    own, start, noise = np.arange(6), np.zeros((6, 2)), rng.standard_normal((4000, 2))
    for part, goes in ((2e-3, True), (2e-2, False)):
        moments = moments_of(x, x @ np.ones((6, 2)) + part * noise)
        drawn, _ = refit(moments, start, own, ridge=1e-4)
        found, _ = loosened_refit(moments, start, own, ridge=1e-4)
        assert (not np.array_equal(found, drawn)) == goes
