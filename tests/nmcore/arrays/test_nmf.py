"""The baseline: non-negative factors, free or with the kept channels as atoms."""

import numpy as np
import pytest

from nmcore.arrays.nmf import combine, factorize
from nmcore.arrays.scaling import scaling_matrix
from nmcore.errors import ArgumentError
from nmcore.group import BatchNorm

KEPT = np.array([0, 3, 5])
REMOVED = np.array([1, 2, 4])


def test_factors_of_a_product_are_found():
    rng = np.random.default_rng(0)
    V = rng.random((20, 3)) @ rng.random((3, 30))
    left, right = factorize(V, 3, sweeps=2000, tolerance=1e-9)
    assert left.shape == (20, 3)
    assert right.shape == (3, 30)
    assert min(left.min(), right.min()) >= 0
    assert np.linalg.norm(left @ right - V) < 1e-2 * np.linalg.norm(V)


def test_negatives_count_as_zero():
    W = np.random.default_rng(1).standard_normal((12, 9))
    ours, positive = factorize(W, 4), factorize(np.maximum(W, 0), 4)
    np.testing.assert_array_equal(ours[0], positive[0])
    np.testing.assert_array_equal(ours[1], positive[1])


def test_every_sweep_descends():
    V = np.random.default_rng(2).random((15, 12))
    errors = [
        np.linalg.norm(np.subtract(np.matmul(*factorize(V, 4, sweeps=n, tolerance=0)), V))
        for n in range(1, 12)
    ]
    assert (np.diff(errors) < 0).all()


def test_seed_and_tolerance():
    V = np.random.default_rng(3).random((10, 8))
    np.testing.assert_array_equal(factorize(V, 3, seed=1)[0], factorize(V, 3, seed=1)[0])
    assert not np.allclose(factorize(V, 3, seed=1)[0], factorize(V, 3, seed=2)[0])
    one = factorize(V, 3, sweeps=1)
    np.testing.assert_array_equal(factorize(V, 3, tolerance=1.0)[0], one[0])
    assert not np.allclose(factorize(V, 3)[0], one[0])


def test_nothing_positive():
    left, right = factorize(-np.ones((4, 3)), 2)
    assert not (left @ right).any()


def test_combination_fulfils_the_optimality_conditions():
    """Non-negative; where positive the gradient vanishes, where zero it points outwards."""
    rng = np.random.default_rng(4)
    V, H = rng.random((6, 10)), rng.random((4, 10))
    Z = combine(V @ H.T, H @ H.T, sweeps=5000, tolerance=1e-10)
    gradient = H @ H.T @ Z - H @ V.T
    assert Z.min() >= 0
    assert (Z == 0).any()
    assert (Z > 0).any()
    np.testing.assert_allclose(gradient[Z > 0], 0, atol=1e-7)
    assert gradient[Z == 0].min() > -1e-7


def test_kept_channels_are_the_atoms():
    rng = np.random.default_rng(5)
    W, b = rng.standard_normal((6, 2, 4)), rng.standard_normal(6)
    mix = rng.random((3, 3))
    positive = np.maximum(np.column_stack([W.reshape(6, 8), b]), 0)
    rebuilt = mix @ positive[KEPT]
    W[REMOVED], b[REMOVED] = rebuilt[:, :8].reshape(3, 2, 4), rebuilt[:, 8]
    # Negative weights are not seen.
    W[REMOVED] -= W[REMOVED] == 0
    scaling = scaling_matrix(W, KEPT, "nmf", bias=b)
    np.testing.assert_allclose(scaling.Z[:, REMOVED], mix.T, atol=0.02)
    np.testing.assert_array_equal(scaling.Z[:, KEPT], np.eye(3))
    assert scaling.shift is None


def test_a_bias_is_one_more_column():
    rng = np.random.default_rng(8)
    W, b = rng.standard_normal((6, 5)), rng.standard_normal(6)
    expected = scaling_matrix(np.column_stack([W, b]), KEPT, "nmf").Z
    np.testing.assert_allclose(scaling_matrix(W, KEPT, "nmf", bias=b).Z, expected, rtol=1e-9)


def test_batch_norm_counts_as_folded():
    rng = np.random.default_rng(6)
    W, b = rng.standard_normal((6, 5)), rng.standard_normal(6)
    gamma, beta, mean = rng.standard_normal((3, 6))
    norm = BatchNorm(gamma, beta, mean, rng.uniform(0.5, 2, 6))
    gain = gamma / np.sqrt(norm.var + norm.eps)
    expected = scaling_matrix(W * gain[:, None], KEPT, "nmf", bias=beta + gain * (b - mean))
    found = scaling_matrix(W, KEPT, "nmf", bias=b, batchnorm=norm)
    np.testing.assert_allclose(found.Z, expected.Z, rtol=1e-9, atol=1e-12)


def test_depthwise_counts_as_outer_product():
    rng = np.random.default_rng(7)
    W, kernels = rng.standard_normal((6, 5)), rng.standard_normal((6, 1, 3))
    outer = np.einsum("ni,nk->nik", W, kernels[:, 0])
    found = scaling_matrix(W, KEPT, "nmf", depthwise=kernels)
    np.testing.assert_allclose(found.Z, scaling_matrix(outer, KEPT, "nmf").Z, rtol=1e-9)


def test_door():
    with pytest.raises(ArgumentError, match="keep: got 5"):
        factorize(np.ones((4, 3)), 5)
    with pytest.raises(ArgumentError, match="matrix: holds NaN"):
        factorize(np.full((2, 2), np.nan), 1)
