"""Backward elimination against the plain thing: refit by least squares after every removal."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.arrays.elimination import eliminate, problem
from nmcore.compression.refit import features
from nmcore.errors import ArgumentError

ROWS = 60


def made(rng, channels, taps, outputs, *, x=None):
    """Correlated rows of features, targets for them, and weights to be drawn towards."""
    width = channels * taps
    if x is None:
        x = rng.standard_normal((ROWS, width)) @ rng.standard_normal((width, width))
    y = x @ rng.standard_normal((width, outputs)) + rng.standard_normal((len(x), outputs))
    return x - x.mean(0), y - y.mean(0), rng.standard_normal((width, outputs))


def as_problem(x, y, start, taps, ridge=1e-2, unit=1.0):
    return problem(x.T @ x / len(x), x.T @ y / len(x), start, taps, ridge=ridge, unit=unit)


def objective(x, y, start, taps, kept, ridge=1e-2, unit=1.0):
    """The least mean squared error, with the pull counted, that the kept channels can reach."""
    root = np.sqrt(ridge * np.mean(np.square(x).sum(0) / ROWS))
    left = np.concatenate([x / np.sqrt(ROWS), root * np.eye(x.shape[1])])
    right = np.concatenate([y / np.sqrt(ROWS), root * start])
    own = features(np.array(sorted(kept)), taps)
    best = np.linalg.lstsq(left[:, own], right, rcond=None)[0]
    return np.square(right - left[:, own] @ best).sum() / unit


def brute_force(problems, channels, keep):
    """The order and the errors, with every candidate of every step refitted from scratch."""
    total = lambda kept: sum(objective(*args, kept, **options) for *args, options in problems)  # noqa: E731
    kept, order, error = set(range(channels)), [], []
    start = total(kept)
    while len(kept) > keep:
        costs = {each: total(kept - {each}) for each in sorted(kept)}
        order.append(min(costs, key=costs.__getitem__))
        error.append(costs[order[-1]] - start)
        kept.remove(order[-1])
    return order, error


def check(problems, channels, keep=1):
    order, error = eliminate([as_problem(*args, **options) for *args, options in problems], keep)
    expected_order, expected_error = brute_force(problems, channels, keep)
    assert order.tolist() == expected_order
    np.testing.assert_allclose(error, expected_error, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("outputs", [1, 4, 25])
@pytest.mark.parametrize("taps", [1, 3])
def test_order_and_errors_are_those_of_refitting_from_scratch(taps, outputs, seed):
    """25 outputs are more than the features, so the problem is rotated into fewer."""
    rng = np.random.default_rng(seed)
    check([(*made(rng, 7, taps, outputs), taps, {})], 7)


def test_several_consumers_count_together_in_their_own_units():
    rng = np.random.default_rng(0)
    one, two = made(rng, 6, 1, 3), made(rng, 6, 3, 2)
    problems = [(*one, 1, {"unit": 2.0}), (*two, 3, {"unit": 30.0, "ridge": 1e-3})]
    check(problems, 6)
    orders = [
        eliminate([as_problem(*args, **options) for *args, options in each], 1)[0].tolist()
        for each in (problems, problems[:1], problems[1:])
    ]
    assert orders[0] != orders[1] != orders[2], "the case must tell the consumers apart"


@pytest.mark.parametrize("taps", [1, 3])
def test_duplicate_and_dead_channels(taps):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((ROWS, 6, taps))
    x[:, 4] = -2 * x[:, 1]
    x[:, 2] = 7.0
    arguments = made(rng, 6, taps, 3, x=x.reshape(ROWS, -1))
    check([(*arguments, taps, {})], 6)
    # With a ridge of 1e-9 it depends on the seed what rounding leaves of several taps.
    order, error = eliminate([as_problem(*arguments, taps, ridge=1e-8)], 1)
    assert sorted([order[0].item(), order[1].item()]) in ([1, 2], [2, 4])
    assert error[1] < 1e-6 * error[2]


def test_a_combination_of_others_goes_first_whatever_its_weight():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((ROWS, 5))
    x[:, 3] = x[:, 0] - 0.5 * x[:, 1] + 2 * x[:, 4]
    y = x @ np.array([[1.0], [1.0], [1e-2], [50.0], [1.0]])
    order, error = eliminate([as_problem(x, y, np.zeros((5, 1)), 1, ridge=1e-10)], 1)
    assert order[0] in (0, 1, 3, 4)
    assert order[1] == 2
    assert error[0] < 1e-2 * error[1]


def test_all_features_constant():
    zeros = np.zeros((6, 6))
    order, error = eliminate([problem(zeros, zeros[:, :2], np.ones((6, 2)), 2)], 1)
    assert sorted(order.tolist()) == sorted(set(order.tolist()))
    assert len(order) == 2
    assert np.isfinite(error).all()
    assert (error < 1e-12).all()


@pytest.mark.parametrize(("channels", "taps", "readers"), [(64, 9, 1), (512, 1, 1), (512, 1, 2)])
def test_one_of_many_copies_of_a_large_channel_stays(channels, taps, readers):
    """Rounding must not hide that the others go for nothing and the last one does not."""
    rng = np.random.default_rng(6)
    covariances = []
    for _ in range(readers):
        x = rng.standard_normal((3000, channels, taps))
        x[:, :6] = 30 * x[:, :1]
        x = x.reshape(len(x), -1)
        covariances.append(x.T @ x / len(x))
    problems = [
        problem(c, c @ start, start, taps, ridge=4e-3, unit=float((start * (c @ start)).sum()))
        for c in covariances
        for start in [rng.standard_normal((channels * taps, 32))]
    ]
    order, error = eliminate(problems, channels // 2)
    assert sum(channel < 6 for channel in order.tolist()) == 5
    assert error[-1] < 0.2


@pytest.mark.parametrize("keep", [1, 3, 5, 6])
def test_keep_counts(keep):
    arguments = made(np.random.default_rng(3), 6, 2, 3)
    full, full_error = eliminate([as_problem(*arguments, 2)], 1)
    order, error = eliminate([as_problem(*arguments, 2)], keep)
    assert order.dtype == np.intp
    assert order.shape == error.shape == (6 - keep,)
    assert np.array_equal(order, full[: 6 - keep])
    assert np.array_equal(error, full_error[: 6 - keep])


def test_error_never_falls_and_nothing_given_is_changed():
    x, y, start = made(np.random.default_rng(4), 12, 1, 3)
    covariance, cross = x.T @ x / ROWS, x.T @ y / ROWS
    before = [each.copy() for each in (covariance, cross, start)]
    _, error = eliminate([problem(covariance, cross, start, 1)], 1)
    assert (np.diff(error, prepend=0) >= 0).all()
    for old, new in zip(before, (covariance, cross, start), strict=True):
        assert np.array_equal(old, new)


class TestTheDoor:
    def parts(self, **changed):
        covariance, cross = np.eye(4), np.ones((4, 2))
        return {"covariance": covariance, "cross": cross, "start": cross, "taps": 2} | changed

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"taps": 3}, "taps: got 3; need a divisor of the 4 features"),
            ({"taps": 0}, "taps: got 0; need a divisor"),
            ({"ridge": -1}, "ridge: got -1; need a number from 0"),
            ({"covariance": np.ones((4, 3))}, r"covariance: got shape \(4, 3\); need a square"),
            ({"cross": np.ones((3, 2))}, r"cross: got shape \(3, 2\); need \(4, outputs\)"),
            ({"start": np.ones((4, 1))}, r"start: got shape \(4, 1\); need \(4, outputs\)"),
        ],
    )
    def test_of_a_problem(self, changed, words):
        with pytest.raises(ArgumentError, match=words):
            problem(**self.parts(**changed))

    @pytest.mark.parametrize("keep", [0, 3])
    def test_of_a_count(self, keep):
        with pytest.raises(ArgumentError, match=f"keep: got {keep}; need a count from 1 to 2"):
            eliminate([problem(**self.parts())], keep)

    def test_of_problems_of_other_channels(self):
        with pytest.raises(ArgumentError, match=r"problems: got \[\] channels"):
            eliminate([], 1)
        others = [problem(**self.parts()), problem(**self.parts(taps=1))]
        with pytest.raises(ArgumentError, match=r"problems: got \[2, 4\] channels"):
            eliminate(others, 1)
