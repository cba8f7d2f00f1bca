"""Moments of activations against what is known exactly, and against drawing at random."""

import math

import numpy as np
import pytest

from nmcore.arrays import gaussian_moments as module
from nmcore.arrays.affine import affine
from nmcore.arrays.gaussian_moments import (
    TERMS,
    _grid,
    _hermite,
    batch_norm_moments,
    gaussian_moments,
)
from nmcore.errors import ArgumentError
from nmcore.group import BatchNorm

ZERO, ONE = np.zeros(2), np.ones(2)


def relu(x):
    return np.maximum(x, 0)


def hardswish(x):
    return x * np.clip(x / 6 + 0.5, 0, 1)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def pair(r):
    return np.array([[1.0, r], [r, 1.0]])


def normal_cdf(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def random_gaussians(rng, width=6, inputs=9):
    rows = rng.standard_normal((width, inputs))
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    return rng.standard_normal(width), rng.uniform(0.2, 2, width), rows @ rows.T


def drawn(rng, mean, deviation, correlation, activation, count=400_000):
    values = rng.multivariate_normal(mean, np.outer(deviation, deviation) * correlation, count)
    A = activation(values)
    second = A.T @ A / count
    return A.mean(0), second, A.std(0).max() / math.sqrt(count)


@pytest.mark.parametrize("activation", [relu, hardswish, elu, np.tanh], ids=lambda f: f.__name__)
def test_monte_carlo(activation):
    rng = np.random.default_rng(0)
    mean, deviation, correlation = random_gaussians(rng)
    found = gaussian_moments(mean, deviation, correlation, activation)
    first, second, error = drawn(rng, mean, deviation, correlation, activation)
    np.testing.assert_allclose(found.mean, first, atol=5 * error)
    np.testing.assert_allclose(found.second, second, atol=0.03, rtol=0.01)


def test_relu_is_the_arc_cosine_kernel():
    for r in np.linspace(-1, 1, 41):
        found = gaussian_moments(ZERO, ONE, pair(r), relu).second[0, 1]
        exact = (math.sqrt(1 - r * r) + r * (math.pi - math.acos(r))) / (2 * math.pi)
        assert found == pytest.approx(exact, abs=6e-5)


def test_relu_of_one_gaussian():
    mean, deviation = np.array([-1.5, -0.3, 0.0, 0.4, 2.0]), np.array([0.5, 1.0, 2.0, 0.1, 1.0])
    found = gaussian_moments(mean, deviation, np.eye(5), relu)
    for n, (m, s) in enumerate(zip(mean, deviation, strict=True)):
        density = math.exp(-0.5 * (m / s) ** 2) / math.sqrt(2 * math.pi)
        first = m * normal_cdf(m / s) + s * density
        assert found.mean[n] == pytest.approx(first, abs=2e-5)
        second = (m * m + s * s) * normal_cdf(m / s) + m * s * density
        assert found.second[n, n] == pytest.approx(second, abs=2e-5)


def test_identity_is_exact():
    mean, deviation, correlation = random_gaussians(np.random.default_rng(1))
    found = gaussian_moments(mean, deviation, correlation, lambda x: x)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    expected = np.outer(mean, mean) + np.outer(deviation, deviation) * correlation
    np.testing.assert_allclose(found.second, expected, rtol=1e-11, atol=1e-13)


def test_polynomial_is_exact():
    """E[x^3 y^3] = 9 r + 6 r^3 for standard Gaussians."""
    r = 0.7
    found = gaussian_moments(ZERO, ONE, pair(r), lambda x: x**3)
    mixed = 9 * r + 6 * r**3
    np.testing.assert_allclose(found.second, [[15, mixed], [mixed, 15]])


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("activation", [relu, np.sign, lambda x: np.tanh(8 * x)])
def test_fully_correlated(activation, sign):
    """One Gaussian read twice, which a truncated series gets wrong by up to several percent."""
    mean, deviation = np.array([0.3, -0.2]), np.array([1.0, 2.0])
    found = gaussian_moments(mean, deviation, pair(sign), activation)
    t = np.arange(-9, 9, 1e-4)
    mass = np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi) * 1e-4
    first = activation(mean[0] + deviation[0] * t)
    second = activation(mean[1] + sign * deviation[1] * t)
    # Of a jump, the grid sees the place to half a step.
    tolerance = 0.01 if activation is np.sign else 2e-4
    assert found.second[0, 1] == pytest.approx(float((first * second) @ mass), abs=tolerance)


def test_uncorrelated_is_the_product_of_means():
    found = gaussian_moments(np.array([0.3, -0.2]), ONE, np.eye(2), np.sign)
    assert found.second[0, 1] == pytest.approx(found.mean[0] * found.mean[1], rel=1e-9)


def test_steep_and_strongly_correlated():
    """The arcsine law of the sign; what is left of its series must fade with the correlation."""
    r = 0.9
    found = gaussian_moments(ZERO, ONE, pair(r), np.sign).second[0, 1]
    assert found == pytest.approx(2 / math.pi * math.asin(r), abs=0.01)


def test_no_deviation_is_a_constant():
    found = gaussian_moments(np.array([2.0, -0.5]), np.array([0.0, 1.0]), pair(0.9), np.tanh)
    assert found.mean[0] == pytest.approx(math.tanh(2))
    assert found.second[0, 0] == pytest.approx(math.tanh(2) ** 2)
    assert found.second[0, 1] == pytest.approx(found.mean[0] * found.mean[1])


def test_one_channel():
    found = gaussian_moments([0.0], [1.0], [[1.0]], relu)
    assert found.mean.shape == (1,)
    assert found.second == pytest.approx(np.array([[0.5]]), abs=1e-6)


def test_rows_are_formed_in_blocks(monkeypatch):
    arguments = random_gaussians(np.random.default_rng(2))
    whole = gaussian_moments(*arguments, relu).second
    monkeypatch.setattr(module, "_BLOCK", 6 * 4)
    np.testing.assert_allclose(gaussian_moments(*arguments, relu).second, whole, rtol=1e-12)
    np.testing.assert_allclose(whole, whole.T, rtol=1e-12)


def test_covariance_is_positive_semidefinite():
    rng = np.random.default_rng(3)
    mean, deviation, correlation = random_gaussians(rng, width=40, inputs=3)
    found = gaussian_moments(mean, deviation, correlation, relu)
    assert np.linalg.eigvalsh(found.covariance).min() > -1e-12


def test_diagonal_and_rounding_are_put_right():
    wrong = np.array([[0.2, 1 + 1e-9], [1 + 1e-9, -1.0]])
    found = gaussian_moments(ZERO, ONE, wrong, relu).second
    np.testing.assert_array_equal(found, gaussian_moments(ZERO, ONE, pair(1), relu).second)


def test_the_grid_reaches_as_far_as_the_polynomials():
    nodes, mass = _grid()
    basis = _hermite(nodes)
    np.testing.assert_allclose((basis * mass) @ basis.T, np.eye(TERMS), atol=1e-7)


def test_caller_keeps_its_correlation():
    correlation = pair(0.5)
    gaussian_moments(ZERO, ONE, correlation, relu)
    np.testing.assert_array_equal(correlation, pair(0.5))


def test_slopes_per_channel():
    slope = np.array([[0.0], [1.0]])
    found = gaussian_moments(ZERO, ONE, pair(0.5), lambda x: np.where(x > 0, x, slope * x))
    assert found.mean[0] == pytest.approx(1 / math.sqrt(2 * math.pi), abs=1e-5)
    assert found.mean[1] == pytest.approx(0, abs=1e-12)


def norm_of(rng, width, eps=1e-5):
    return BatchNorm(
        rng.standard_normal(width),
        rng.standard_normal(width),
        rng.standard_normal(width),
        rng.uniform(0.5, 2, width),
        eps,
    )


def test_batch_norm_of_white_inputs():
    """Where the assumption holds, so must the moments: inputs uncorrelated and equally strong."""
    rng = np.random.default_rng(4)
    W, inputs = rng.standard_normal((5, 4, 2)), rng.standard_normal((400_000, 8))
    x = inputs @ W.reshape(5, 8).T
    norm = norm_of(rng, 5)
    norm = BatchNorm(norm.gamma, norm.beta, x.mean(0), x.var(0), eps=0.3)
    assert (norm.gamma < 0).any()
    assert (norm.gamma > 0).any()
    A = relu(norm.gamma * (x - norm.mean) / np.sqrt(norm.var + norm.eps) + norm.beta)
    found = batch_norm_moments(W, norm, relu)
    np.testing.assert_allclose(found.mean, A.mean(0), atol=0.01)
    np.testing.assert_allclose(found.second, A.T @ A / len(A), atol=0.03)


def test_depthwise_multiplies_cosines():
    rng = np.random.default_rng(5)
    W, kernels, norm = rng.standard_normal((5, 4)), rng.standard_normal((5, 1, 3)), norm_of(rng, 5)
    outer = np.einsum("ni,nk->nik", W, kernels[:, 0])
    expected = batch_norm_moments(outer, norm, relu)
    found = batch_norm_moments(W, norm, relu, depthwise=kernels)
    np.testing.assert_allclose(found.second, expected.second, rtol=1e-9)


def test_dead_channels_are_constant():
    rng = np.random.default_rng(6)
    W, norm = rng.standard_normal((3, 4)), norm_of(rng, 3, eps=0)
    W[0] = 0
    norm.gamma[1], norm.var[2] = 0, 0
    found = batch_norm_moments(W, norm, np.tanh)
    np.testing.assert_allclose(np.diagonal(found.covariance)[1:], 0, atol=1e-12)
    np.testing.assert_allclose(found.mean[1:], np.tanh(norm.beta[1:]))
    assert np.isfinite(affine(found, [0]).Z).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ZERO, -ONE, pair(0), relu), "deviation: got -1.0; need at least 0"),
        ((ZERO, np.ones(3), pair(0), relu), r"deviation: got shape \(3,\)"),
        ((ZERO, ONE, pair(1.1), relu), "correlation: got 1.1; need numbers from -1 to 1"),
        ((ZERO, ONE, pair(0), lambda x: x.sum(1)), r"activation: gave shape \(2,\)"),
        ((ZERO, ONE, pair(0), lambda x: x * np.nan), "activation: gave NaN or infinity"),
    ],
)
def test_door(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        gaussian_moments(*arguments)


def test_door_of_batch_norm_moments():
    with pytest.raises(ArgumentError, match="batchnorm: got None"):
        batch_norm_moments(np.ones((2, 2)), None, relu)
    norm = BatchNorm(ONE, ZERO, ZERO, ONE)
    with pytest.raises(ArgumentError, match="depthwise: got shape"):
        batch_norm_moments(np.ones((2, 2)), norm, relu, depthwise=np.ones((3, 2)))
