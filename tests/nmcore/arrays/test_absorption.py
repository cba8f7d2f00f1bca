"""Absorbing Z against the plain sum, on any axis, rank and float type."""

import numpy as np
import pytest

import reference
from nmcore.arrays import absorption
from nmcore.arrays.absorption import absorb
from nmcore.arrays.scaling import scaling_matrix
from nmcore.errors import ArgumentError
from nmcore.group import Scaling


def merge_of(width, kept_share=0.5, seed=0):
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.permutation(width)[: max(1, int(width * kept_share))])
    return scaling_matrix(rng.standard_normal((width, 6)), kept, threshold=0.2)


def dense(width, shift=False, seed=0):
    rng = np.random.default_rng(seed)
    kept = np.arange(0, width, 2)
    return Scaling(
        kept,
        width,
        np.full(width, np.nan),
        matrix=rng.standard_normal((len(kept), width)),
        shift=rng.standard_normal(width) if shift else None,
    )


CASES = [
    ((7, 12), 1, 1), ((12, 7), 0, 1), ((7, 12, 3, 3), 1, 1), ((12, 7, 2, 2), 0, 1),
    ((5, 12 * 4), 1, 4), ((12 * 4, 5), 0, 4), ((12,), 0, 1), ((3, 4, 12), -1, 1),
    ((7, 12, 3), 1, 1), ((2, 12, 2, 2, 2), 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "axis", "repeat"), CASES)
@pytest.mark.parametrize("make", [merge_of, dense])
def test_equals_the_sum(make, shape, axis, repeat):
    scaling = make(12)
    V = np.random.default_rng(1).standard_normal(shape)
    weight, bias = absorb(V, scaling, axis=axis, repeat=repeat)
    expected = reference.absorb(V, scaling.Z, axis, repeat)
    np.testing.assert_allclose(weight, expected, rtol=1e-12, atol=1e-12)
    assert weight.shape == expected.shape
    assert bias is None


@pytest.mark.parametrize("make", [merge_of, dense])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounds_once(make, dtype):
    scaling = make(300)
    V = np.random.default_rng(1).standard_normal((4, 300)).astype(dtype)
    weight, _ = absorb(V, scaling)
    assert weight.dtype == dtype
    exact = V.astype(np.float64) @ scaling.Z.T
    error = np.abs(weight.astype(np.float64) - exact)
    # Half a unit in the last place of the type itself, and float32's sum on top.
    allowed = np.finfo(dtype).eps / 2 * np.abs(exact) + 3e-6 * np.abs(exact).max()
    if dtype == np.float64:
        allowed = np.full_like(exact, 1e-12 * np.abs(exact).max())
    assert (error <= allowed).all()


def test_pruning_keeps_columns_bit_for_bit():
    V = np.random.default_rng(1).standard_normal((5, 8, 3, 3)).astype(np.float32)
    scaling = scaling_matrix(np.ones((8, 2)), [1, 4, 6], "prune")
    np.testing.assert_array_equal(absorb(V, scaling)[0], V[:, [1, 4, 6]])


@pytest.mark.parametrize(("shape", "axis", "repeat"), CASES)
def test_shift_goes_into_the_bias(shape, axis, repeat):
    scaling = dense(12, shift=True)
    V = np.random.default_rng(1).standard_normal(shape)
    last = np.moveaxis(np.atleast_2d(V), axis if V.ndim > 1 else 1, -1)
    products = last @ np.repeat(scaling.shift, repeat)
    added = products.reshape(len(products), -1).sum(axis=1)
    given = np.random.default_rng(2).standard_normal(len(added)).astype(np.float32)
    _, without = absorb(V, scaling, axis=axis, repeat=repeat)
    _, bias = absorb(V, scaling, axis=axis, repeat=repeat, next_bias=given)
    np.testing.assert_allclose(without, added, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(bias, given + added, rtol=1e-6, atol=1e-6)
    assert bias.dtype == np.float32


def test_bias_passes_through_where_nothing_is_shifted():
    bias = np.ones(5, dtype=np.float32)
    assert absorb(np.ones((5, 12)), merge_of(12), next_bias=bias)[1] is bias


@pytest.mark.parametrize("make", [merge_of, dense])
@pytest.mark.parametrize(("shape", "axis", "repeat"), CASES[:6])
def test_in_place(make, shape, axis, repeat, monkeypatch):
    monkeypatch.setattr(absorption, "_BLOCK", 16)
    scaling = make(12)
    V = np.random.default_rng(1).standard_normal(shape)
    expected, _ = absorb(V.copy(), scaling, axis=axis, repeat=repeat)
    leading = [slice(None)] * V.ndim
    leading[axis] = slice(0, len(scaling.kept) * repeat)
    out = V[tuple(leading)]
    result, _ = absorb(V, scaling, axis=axis, repeat=repeat, out=out)
    assert result is out
    np.testing.assert_array_equal(out, expected)


def test_out_may_overlap_anyhow(monkeypatch):
    monkeypatch.setattr(absorption, "_BLOCK", 16)
    scaling = merge_of(12)
    V = np.random.default_rng(1).standard_normal((9, 12))
    expected, _ = absorb(V.copy(), scaling)
    out = V[::-1, 6:]
    assert absorb(V, scaling, out=out)[0] is out
    np.testing.assert_array_equal(out, expected)


def test_the_next_weight_is_left_alone():
    V = np.random.default_rng(1).standard_normal((9, 12))
    V.flags.writeable = False
    weight, _ = absorb(V, merge_of(12))
    assert weight.flags.writeable


@pytest.mark.parametrize("make", [merge_of, dense])
def test_non_contiguous_weights(make):
    V = np.random.default_rng(1).standard_normal((3, 24, 9)).transpose(2, 1, 0)[:, ::2]
    scaling = make(12)
    expected = reference.absorb(V, scaling.Z, 1, 1)
    np.testing.assert_allclose(absorb(V, scaling)[0], expected, rtol=1e-12, atol=1e-12)


BAD = [
    ({"next_weight": np.ones((5, 11))}, r"next_weight: got 11 entries on axis 1 .* need 12"),
    ({"next_weight": np.ones((5, 12)), "repeat": 4}, "need 48"),
    ({"repeat": 0}, "repeat: got 0"),
    ({"axis": 2}, "axis: got 2"),
    ({"next_weight": np.ones((5, 12), dtype=int)}, "next_weight: got int64"),
    ({"next_bias": np.ones(4)}, r"next_bias: got shape \(4,\)"),
    ({"out": np.ones((5, 7))}, r"out: got a float64 array of shape \(5, 7\)"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_arguments_are_named(wrong, message):
    with pytest.raises(ArgumentError, match=message):
        absorb(**{"next_weight": np.ones((5, 12)), "scaling": merge_of(12), **wrong})


def test_z_alone_is_no_scaling():
    scaling = scaling_matrix(np.eye(3), [0, 1])
    with pytest.raises(ArgumentError, match="scaling: got ndarray; need the Scaling that"):
        absorb(np.ones((2, 3)), scaling.Z)
