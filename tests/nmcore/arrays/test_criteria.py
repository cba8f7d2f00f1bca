"""Selection against plain loops, with every kernel, and the lowest index wherever scores tie."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from nmcore.arrays.criteria import select
from nmcore.arrays.elimination import error_selection, reading_gram
from nmcore.errors import ArgumentError
from nmcore.kernels import distances

KERNELS = ("numpy", "numba")


@pytest.fixture(params=KERNELS)
def kernel(request):
    return request.param


def rows_with_ties(seed=0, width=60, length=7):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((width, length))
    weight[rng.permutation(width)[:20]] = weight[0]
    weight[rng.permutation(width)[:5]] = 0
    return weight


SCORES = {"l1": reference.score_l1, "l2": reference.score_l2, "l2-gm": reference.score_l2_gm}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("criterion", SCORES)
def test_equals_the_loop_at_every_count(kernel, criterion, with_bias, dtype):
    weight = rows_with_ties().astype(dtype)
    bias = np.random.default_rng(1).standard_normal(len(weight)) if with_bias else None
    scores = SCORES[criterion](reference.rows_of(weight, bias))
    for keep in (1, 2, 17, 30, 41, 55, 60):
        kept = select(weight, keep, criterion, bias=bias, kernel=kernel)
        assert kept.tolist() == reference.keep_highest(scores, keep)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_geometric_median_of_any_small_weight(data):
    width, length = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 3))
    numbers = st.sampled_from([0.0, 1.0, 2.0, -1.0, 1 + 2.0**-52, 1e-9, 1e9])
    flat = data.draw(st.lists(numbers, min_size=width * length, max_size=width * length))
    weight = np.array(flat).reshape(width, length)
    keep = data.draw(st.integers(1, width))
    scores = reference.score_l2_gm(reference.rows_of(weight))
    for kernel in KERNELS:
        kept = select(weight, keep, "l2-gm", kernel=kernel)
        assert kept.tolist() == reference.keep_highest(scores, keep)


def test_geometric_median_in_blocks(kernel, monkeypatch):
    weight = rows_with_ties(width=80)
    whole = select(weight, 33, "l2-gm", kernel=kernel)
    monkeypatch.setattr(distances, "_BLOCK_BYTES", 1)
    np.testing.assert_array_equal(select(weight, 33, "l2-gm", kernel=kernel), whole)


@pytest.mark.parametrize("criterion", ["l1", "l2", "l2-gm"])
def test_extreme_numbers_keep_their_order(kernel, criterion):
    weight = np.array([[1e300, 1e300], [2e300, 0.0], [1e-300, 0.0], [0.0, 0.0], [-9e300, 1.0]])
    kept = select(weight, 2, criterion, kernel=kernel)
    assert kept.tolist() == ([0, 4] if criterion == "l1" else [1, 4])


def test_out_norm_equals_the_loop():
    rng = np.random.default_rng(2)
    weight, next_weight = rng.standard_normal((30, 4, 3, 3)), rng.standard_normal((8, 30, 3, 3))
    scores = reference.score_out_norm(reference.rows_of(weight), next_weight)
    kept = select(weight, 11, "out-norm", next_weight=next_weight)
    assert kept.tolist() == reference.keep_highest(scores, 11)


def test_out_norm_sees_a_channel_that_nobody_reads():
    next_weight = np.array([[0.0, 1.0, 1.0]])
    kept = select(np.array([[9.0], [1.0], [1.0]]), 2, "out-norm", next_weight=next_weight)
    assert kept.tolist() == [1, 2]


def test_random_is_seeded_and_sorted():
    weight = np.ones((50, 2))
    first = select(weight, 20, "random", seed=1)
    np.testing.assert_array_equal(first, select(weight, 20, "random", seed=1))
    assert first.tolist() != select(weight, 20, "random", seed=2).tolist()
    assert (np.diff(first) > 0).all()


def test_threads_do_not_change_the_choice():
    weight = np.random.default_rng(3).standard_normal((400, 64)).astype(np.float32)
    for criterion in SCORES:
        kept = [select(weight, 111, criterion, threads=threads) for threads in (1, 2, 3)]
        np.testing.assert_array_equal(kept[0], kept[1])
        np.testing.assert_array_equal(kept[0], kept[2])


def activations(seed, width, samples):
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((samples, width)) @ rng.standard_normal((width, width))
    return np.maximum(mixed, 0)


@pytest.mark.parametrize("width", [2, 5, 23])
def test_error_selection_equals_refitting_from_scratch(kernel, width):
    A = activations(width, width, 400)
    C, V = np.cov(A.T), np.random.default_rng(9).standard_normal((31, width))
    for keep in sorted({1, width // 2 or 1, width}):
        expected, curve = reference.error_elimination(C, V.T @ V, keep)
        kept, found = error_selection(C, V.T @ V, keep, damping=0, kernel=kernel)
        assert kept.tolist() == expected
        np.testing.assert_allclose(found, curve, atol=1e-12)


def test_error_selection_over_many_panels(kernel):
    """More removals than a panel holds, and stale rows dropped on the way."""
    width, keep = 200, 20
    A = activations(4, width, 900)
    C, V = np.cov(A.T), np.random.default_rng(5).standard_normal((50, width))
    H = V.T @ V
    kept, curve = error_selection(C, H, keep, damping=0, kernel=kernel)
    left = reference.remaining_error(C, H, kept.tolist()) / np.trace(H @ C)
    assert curve[-1] == pytest.approx(left, rel=1e-9)
    assert curve[0] == 0
    assert (np.diff(curve) > 0).all()
    assert curve.shape == (width - keep + 1,)


def test_error_selection_agrees_across_kernels_and_threads():
    A = activations(6, 300, 500)
    A[:, 100:150] = A[:, :50]
    C, V = np.cov(A.T), np.random.default_rng(5).standard_normal((40, 300))
    results = [
        error_selection(C, V.T @ V, 100, kernel=kernel, threads=threads)
        for kernel in KERNELS
        for threads in (1, 2)
    ]
    for kept, curve in results[1:]:
        np.testing.assert_array_equal(kept, results[0][0])
        np.testing.assert_allclose(curve, results[0][1], rtol=1e-6, atol=1e-12)


def test_dead_and_duplicate_channels_go_first(kernel):
    A = activations(7, 12, 300)
    A[:, 3] = 0
    A[:, 9] = A[:, 5]
    kept, curve = error_selection(np.cov(A.T), np.eye(12), 10, kernel=kernel)
    assert 3 not in kept
    assert 5 not in kept
    assert 9 in kept
    assert curve[1] < 1e-3


def test_channels_that_never_fire_or_are_never_read(kernel):
    kept, curve = error_selection(np.zeros((4, 4)), np.eye(4), 2, kernel=kernel)
    assert kept.tolist() == [2, 3]
    assert np.isfinite(curve).all()
    kept, curve = error_selection(np.eye(4), np.zeros((4, 4)), 2, kernel=kernel)
    assert kept.tolist() == [2, 3]
    assert curve.tolist() == [0, 0, 0]


def test_a_covariance_that_is_none():
    with pytest.raises(ArgumentError, match="covariance: is not positive definite"):
        error_selection(-np.eye(3), np.eye(3), 1, damping=0)
    with pytest.raises(ArgumentError, match="covariance: is not positive definite"):
        error_selection(np.ones((3, 3)), np.eye(3), 1, damping=0)


def test_error_criterion_reads_moments_and_next_weight():
    A = activations(8, 16, 300)
    moments = SimpleNamespace(mean=A.mean(axis=0), second=A.T @ A / len(A))
    next_weight = np.random.default_rng(1).standard_normal((5, 16, 3, 3))
    kept = select(np.ones((16, 2)), 6, "error", next_weight=next_weight, moments=moments)
    C = np.cov(A.T, bias=True)
    expected, _ = error_selection(C, reading_gram(next_weight), 6)
    np.testing.assert_array_equal(kept, expected)
    flat = np.moveaxis(next_weight, 1, 0).reshape(16, -1)
    np.testing.assert_allclose(reading_gram(next_weight), flat @ flat.T, rtol=1e-12)


GOOD = np.ones((4, 3))
BAD = [
    ({"keep": 0}, "keep: got 0; need a count from 1 to 4"),
    ({"keep": 5}, "keep: got 5"),
    ({"keep": 2.0}, "keep: got 2.0; need a count, an integer"),
    ({"keep": True}, "keep: got True"),
    ({"weight": np.ones((4, 3), dtype=np.uint8)}, "weight: got uint8"),
    ({"criterion": "l3"}, "criterion: got 'l3'; need one of error, l1, l2, l2-gm, out-norm, rand"),
    ({"criterion": "out-norm"}, "next_weight: got None; criterion 'out-norm' needs"),
    ({"criterion": "error"}, "moments: got None; criterion 'error' needs"),
    (
        {"criterion": "error", "moments": 3, "next_weight": np.ones((7, 4))},
        "moments.mean: got None; criterion 'error' needs",
    ),
    ({"next_weight": np.ones((7, 5))}, r"next_weight: got 5 entries on axis 1 of shape \(7, 5\)"),
    ({"next_weight": np.ones(4)}, "axis: got 1"),
    ({"bias": np.ones((4, 1))}, "bias: got shape"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_arguments_are_named(wrong, message):
    with pytest.raises(ArgumentError, match=message):
        select(**{"weight": GOOD, "keep": 2, **wrong})


def test_a_seed_below_zero():
    with pytest.raises(ArgumentError, match="seed: got -1; need an integer from 0"):
        select(np.eye(3), 2, "random", seed=-1)
