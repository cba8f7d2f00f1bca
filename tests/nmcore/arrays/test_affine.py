"""Activations rebuilt from activations: least squares with a constant."""

from types import SimpleNamespace

import numpy as np
import pytest

from nmcore.arrays.absorption import absorb
from nmcore.arrays.affine import RIDGE, ActivationMoments, affine
from nmcore.arrays.scaling import scaling_matrix
from nmcore.errors import ArgumentError

KEPT = np.array([1, 2, 4])
REMOVED = np.array([0, 3, 5])


def activations(rng, rows=400, width=6):
    return np.maximum(rng.standard_normal((rows, width)) @ rng.standard_normal((width, width)), 0)


def moments_of(A):
    return ActivationMoments(A.mean(0), A.T @ A / len(A))


def test_formula():
    A = activations(np.random.default_rng(0))
    scaling = affine(moments_of(A), KEPT, ridge=0.3)
    C = np.cov(A.T, bias=True)
    damped = C[np.ix_(KEPT, KEPT)] + 0.3 * np.diag(C)[KEPT].mean() * np.eye(3)
    Z = np.linalg.inv(damped) @ C[np.ix_(KEPT, REMOVED)]
    np.testing.assert_allclose(scaling.Z[:, REMOVED], Z, rtol=1e-8)
    np.testing.assert_array_equal(scaling.Z[:, KEPT], np.eye(3))
    np.testing.assert_allclose(
        scaling.shift[REMOVED], A[:, REMOVED].mean(0) - A[:, KEPT].mean(0) @ Z, rtol=1e-8
    )
    assert not scaling.shift[KEPT].any()


def test_no_damping_is_least_squares_with_a_constant():
    A = activations(np.random.default_rng(1))
    scaling = affine(moments_of(A), KEPT, ridge=0)
    design = np.column_stack([A[:, KEPT], np.ones(len(A))])
    best = np.linalg.lstsq(design, A[:, REMOVED], rcond=None)[0]
    np.testing.assert_allclose(scaling.Z[:, REMOVED], best[:-1], rtol=1e-6)
    np.testing.assert_allclose(scaling.shift[REMOVED], best[-1], rtol=1e-6)


@pytest.mark.parametrize("ridge", [0.0, 1.0, 1e6])
def test_the_mean_is_right_whatever_the_damping(ridge):
    A = activations(np.random.default_rng(2)) + 10
    scaling = affine(moments_of(A), KEPT, ridge=ridge)
    rebuilt = A[:, KEPT] @ scaling.Z + scaling.shift
    np.testing.assert_allclose(rebuilt.mean(0), A.mean(0))


def test_method_takes_any_object_with_moments():
    A = activations(np.random.default_rng(3))
    found = moments_of(A)
    given = SimpleNamespace(mean=found.mean.astype(np.float32), second=found.second)
    weight = np.ones((6, 2))
    scaling = scaling_matrix(weight, KEPT, "affine", moments=given)
    np.testing.assert_allclose(scaling.Z, affine(found, KEPT, ridge=RIDGE).Z, rtol=1e-4, atol=1e-6)
    damped = scaling_matrix(weight, KEPT, "affine", moments=found, ridge=2.0)
    np.testing.assert_array_equal(damped.Z, affine(found, KEPT, ridge=2.0).Z)


def test_half_precision_mean_is_squared_in_double():
    A = activations(np.random.default_rng(9))
    A += 300 - A.mean(0)
    given = SimpleNamespace(mean=np.full(6, 300, dtype=np.float16), second=A.T @ A / len(A))
    scaling = scaling_matrix(np.ones((6, 2)), KEPT, "affine", moments=given)
    np.testing.assert_allclose(scaling.Z, affine(moments_of(A), KEPT).Z, atol=1e-9)


def test_absorbed_into_the_next_layer():
    rng = np.random.default_rng(4)
    A = activations(rng)
    A[:, REMOVED] = A[:, KEPT] @ rng.standard_normal((3, 3)) + rng.standard_normal(3)
    V, bias = rng.standard_normal((5, 6)), rng.standard_normal(5)
    V2, bias2 = absorb(V, affine(moments_of(A), KEPT, ridge=0), next_bias=bias)
    np.testing.assert_allclose(A[:, KEPT] @ V2.T + bias2, A @ V.T + bias, rtol=1e-6, atol=1e-6)


def test_unit_of_the_activations_does_not_matter():
    A = activations(np.random.default_rng(5))
    small = affine(moments_of(1e-6 * A), KEPT)
    np.testing.assert_allclose(small.Z, affine(moments_of(A), KEPT).Z, rtol=1e-6)


def test_dead_constant_and_twin_channels():
    A = activations(np.random.default_rng(6))
    A[:, 1] = 0
    A[:, 4] = A[:, 2]
    A[:, 3] = 7
    scaling = affine(moments_of(A), KEPT, ridge=0)
    np.testing.assert_allclose(scaling.Z[:, 3], 0, atol=1e-6)
    np.testing.assert_allclose(scaling.shift[3], 7)
    assert np.abs(scaling.Z).max() < 10
    all_dead = affine(ActivationMoments(np.zeros(6), np.zeros((6, 6))), KEPT)
    assert not all_dead.Z[:, REMOVED].any()


def test_all_kept():
    A = activations(np.random.default_rng(7))
    np.testing.assert_array_equal(affine(moments_of(A), np.arange(6)).Z, np.eye(6))


def bad(**changes):
    A = activations(np.random.default_rng(8))
    found = moments_of(A)
    return SimpleNamespace(**{"mean": found.mean, "second": found.second, **changes})


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        (None, "moments: got None; method 'affine' needs"),
        (SimpleNamespace(mean=np.ones(6)), "without 'second'"),
        (bad(mean=None), "without 'mean'"),
        (bad(mean=np.ones(5)), r"moments.mean: got shape \(5,\)"),
        (bad(second=np.eye(5)), r"moments.second: got shape \(5, 5\); need \(6, 6\)"),
        (bad(mean=np.full(6, 1e3)), "a second moment, not a covariance"),
    ],
)
def test_door(moments, message):
    with pytest.raises(ArgumentError, match=message):
        scaling_matrix(np.ones((6, 2)), KEPT, "affine", moments=moments)
