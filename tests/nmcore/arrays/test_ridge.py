"""Rows rebuilt from rows: the formula, what it must not depend on, and the door."""

import numpy as np
import pytest

from nmcore.arrays import linalg
from nmcore.arrays.absorption import absorb
from nmcore.arrays.ridge import BIAS_WEIGHT, RIDGE, mixed_rows
from nmcore.arrays.scaling import scaling_matrix
from nmcore.errors import ArgumentError
from nmcore.group import BatchNorm

KEPT = np.array([0, 2, 3, 6])
REMOVED = np.array([1, 4, 5])


def layer(rng, width=7, shape=(3, 2, 2)):
    return rng.standard_normal((width, *shape)), rng.standard_normal(width)


def random_bn(rng, width=7):
    return BatchNorm(
        rng.standard_normal(width),
        rng.standard_normal(width),
        rng.standard_normal(width),
        rng.uniform(0.1, 2, width),
    )


def by_formula(W, b, share, pull):
    """z_n by the formula of :func:`mixed_rows`, one channel at a time, l1 and D spelt out."""
    W = W.reshape(len(W), -1)
    l1 = pull * np.square(W[KEPT]).sum() / np.square(b[KEPT]).sum()
    gram = W[KEPT] @ W[KEPT].T + l1 * np.outer(b[KEPT], b[KEPT])
    system = gram + share * np.diag(np.diag(gram))
    Z = np.zeros((len(KEPT), len(W)))
    Z[range(len(KEPT)), KEPT] = 1
    for n in REMOVED:
        Z[:, n] = np.linalg.inv(system) @ (W[KEPT] @ W[n] + l1 * b[KEPT] * b[n])
    return Z


@pytest.mark.parametrize("share", [0.01, 0.5])
@pytest.mark.parametrize("pull", [0.0, 0.7])
def test_formula(share, pull):
    W, b = layer(np.random.default_rng(0))
    scaling = mixed_rows(W, KEPT, bias=b, ridge=share, bias_weight=pull)
    np.testing.assert_allclose(scaling.Z, by_formula(W, b, share, pull), rtol=1e-9, atol=1e-12)


def test_method_uses_the_defaults_and_the_given_ridge():
    W, b = layer(np.random.default_rng(1))
    scaling = scaling_matrix(W, KEPT, "ridge", bias=b)
    np.testing.assert_allclose(scaling.Z, by_formula(W, b, RIDGE, BIAS_WEIGHT), rtol=1e-9)
    strong = scaling_matrix(W, KEPT, "ridge", bias=b, ridge=3)
    np.testing.assert_allclose(strong.Z, by_formula(W, b, 3, BIAS_WEIGHT), rtol=1e-9)
    assert scaling.shift is None
    assert np.isnan(scaling.similarity[REMOVED]).all()
    assert (scaling.similarity[KEPT] == 1).all()


def test_combination_of_kept_rows_is_found():
    rng = np.random.default_rng(2)
    W, b = layer(rng)
    mix = rng.standard_normal((3, 4))
    W[REMOVED] = np.tensordot(mix, W[KEPT], 1)
    b[REMOVED] = mix @ b[KEPT]
    Z = mixed_rows(W, KEPT, bias=b, ridge=0).Z
    np.testing.assert_allclose(Z[:, REMOVED], mix.T, rtol=1e-6)
    new, _ = absorb(np.ones((1, 7)), mixed_rows(W, KEPT, bias=b, ridge=0))
    np.testing.assert_allclose(new @ W[KEPT].reshape(4, -1), W.reshape(7, -1).sum(0)[None])


def test_batch_norm_counts_as_folded():
    rng = np.random.default_rng(3)
    W, b = layer(rng)
    norm = random_bn(rng)
    gain = norm.gamma / np.sqrt(norm.var + norm.eps)
    expected = mixed_rows(
        W * gain.reshape(-1, 1, 1, 1), KEPT, bias=norm.beta + gain * (b - norm.mean)
    )
    found = scaling_matrix(W, KEPT, "ridge", bias=b, batchnorm=norm)
    np.testing.assert_allclose(found.Z, expected.Z, rtol=1e-9)


def test_depthwise_counts_as_outer_product():
    rng = np.random.default_rng(4)
    W, b = layer(rng, shape=(5,))
    kernels = rng.standard_normal((7, 1, 3, 3))
    norm = random_bn(rng)
    outer = np.einsum("ni,nk->nik", W, kernels.reshape(7, 9))
    expected = mixed_rows(outer, KEPT, bias=b, batchnorm=norm)
    found = scaling_matrix(W, KEPT, "ridge", bias=b, batchnorm=norm, depthwise=kernels)
    np.testing.assert_allclose(found.Z, expected.Z, rtol=1e-9)


def test_units_of_inputs_and_channels_do_not_matter():
    rng = np.random.default_rng(5)
    W, b = layer(rng)
    expected = mixed_rows(W, KEPT, bias=b).Z
    np.testing.assert_allclose(mixed_rows(1e-4 * W, KEPT, bias=b).Z, expected, rtol=1e-9)
    scale = 7.0
    np.testing.assert_allclose(mixed_rows(scale * W, KEPT, bias=scale * b).Z, expected, rtol=1e-9)
    own = rng.uniform(0.1, 9, 7)
    np.testing.assert_allclose(
        mixed_rows(W * own.reshape(-1, 1, 1, 1), KEPT).Z,
        mixed_rows(W, KEPT).Z * own / own[KEPT, None],
        rtol=1e-9,
        atol=1e-12,
    )


def test_half_precision_is_summed_in_double():
    W, b = layer(np.random.default_rng(6))
    half = W.astype(np.float16)
    expected = mixed_rows(half.astype(np.float64), KEPT, bias=b).Z
    found = mixed_rows(half, KEPT, bias=b)
    assert found.Z.dtype == np.float64
    np.testing.assert_array_equal(found.Z, expected)


def test_many_columns_are_summed_in_blocks(monkeypatch):
    W, b = layer(np.random.default_rng(7))
    expected = mixed_rows(W, KEPT, bias=b).Z
    monkeypatch.setattr(linalg, "_BLOCK", 7 * 5)
    np.testing.assert_allclose(mixed_rows(W, KEPT, bias=b).Z, expected, rtol=1e-9)


def test_degenerate_rows_stay_finite():
    W, b = layer(np.random.default_rng(8))
    W[2], b[2] = W[0], b[0]
    W[3], b[3] = 0, 0
    Z = mixed_rows(W, KEPT, bias=b, ridge=0).Z
    # Twins share what one of them would take, a dead channel takes nothing.
    np.testing.assert_allclose(Z[0, REMOVED], Z[1, REMOVED], rtol=1e-3)
    assert not Z[2, REMOVED].any()
    constant = BatchNorm(np.ones(7), np.ones(7), np.ones(7), np.zeros(7), eps=0)
    assert np.isfinite(mixed_rows(W, KEPT, batchnorm=constant).Z).all()
    dead = mixed_rows(np.zeros((7, 3)), KEPT, bias=np.zeros(7)).Z
    assert not dead[:, REMOVED].any()


def test_one_kept_channel_and_all_kept():
    W, b = layer(np.random.default_rng(9))
    one = mixed_rows(W, [4], bias=b, ridge=1, bias_weight=0).Z
    np.testing.assert_allclose(one[0, 0], np.vdot(W[4], W[0]) / (2 * np.vdot(W[4], W[4])))
    np.testing.assert_array_equal(mixed_rows(W, np.arange(7), bias=b).Z, np.eye(7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ridge": -1}, "ridge: got -1; need a number from 0"),
        ({"ridge": "much"}, "ridge: got 'much'"),
        ({"bias": np.ones(3)}, "bias: got shape"),
    ],
)
def test_door(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        scaling_matrix(np.ones((7, 2)), KEPT, "ridge", **arguments)


def test_rows_out_of_range_are_refused():
    with pytest.raises(ArgumentError, match="range of float64"):
        mixed_rows(np.full((7, 2), 1e200), KEPT)
