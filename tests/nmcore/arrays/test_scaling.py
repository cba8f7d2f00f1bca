"""Z against the loop-by-loop reading, bit for bit, on ordinary and on adversarial input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from nmcore.arrays.scaling import scaling_matrix
from nmcore.errors import ArgumentError
from nmcore.group import BatchNorm
from nmcore.kernels import match, numpy_
from nmcore.kernels import rows as row_kernel

KERNELS = ("numpy", "numba")


def random_bn(rng, width):
    return BatchNorm(
        rng.standard_normal(width),
        rng.standard_normal(width),
        rng.standard_normal(width),
        rng.uniform(0.1, 2, width),
    )


def duplicates(rng):
    rows = rng.standard_normal((6, 17))
    return rows[rng.integers(0, 6, 40)]


def scaled_duplicates(rng):
    return duplicates(rng) * rng.uniform(0.5, 2, (40, 1))


def near_ties(rng):
    rows = duplicates(rng)
    return rows * (1 + rng.integers(-2, 3, rows.shape) * 2.0**-52)


def small_integers(rng):
    return rng.integers(-1, 2, (60, 4)).astype(np.float64)


def wide_range(rng):
    return rng.standard_normal((40, 9)) * 10.0 ** rng.integers(-60, 60, (40, 1))


def some_zero_rows(rng):
    rows = rng.standard_normal((40, 9))
    rows[rng.permutation(40)[:10]] = 0
    return rows


def nearly_parallel(rng):
    return 1 + 1e-7 * rng.standard_normal((50, 33))


def ordinary(rng):
    return rng.standard_normal((70, 33))


def four_axes(rng):
    return rng.standard_normal((30, 4, 3, 3))


def long_rows(rng):
    return rng.standard_normal((12, 20_011))


INPUTS = [
    duplicates, scaled_duplicates, near_ties, small_integers, wide_range, some_zero_rows,
    nearly_parallel, ordinary, four_axes, long_rows,
]  # fmt: skip


@pytest.fixture(params=INPUTS, ids=lambda make: make.__name__)
def weight(request):
    return request.param(np.random.default_rng(7))


@pytest.fixture(params=KERNELS)
def kernel(request):
    return request.param


def some_kept(width, share=0.4, seed=3):
    return np.sort(np.random.default_rng(seed).permutation(width)[: max(1, int(width * share))])


@pytest.mark.parametrize("threshold", [-1, 0.0, 0.45])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_form_equals_the_loop(weight, kernel, threshold, with_bias):
    width, kept = len(weight), some_kept(len(weight))
    bias = np.random.default_rng(1).standard_normal(width) if with_bias else None
    expected = reference.merge_linear(reference.rows_of(weight, bias), list(kept), threshold)
    scaling = scaling_matrix(weight, kept, bias=bias, threshold=threshold, kernel=kernel)
    np.testing.assert_array_equal(scaling.Z, expected)
    assert scaling.shift is None


@pytest.mark.parametrize("lam", [0.0, 0.8, 0.85, 1.0])
def test_released_form_equals_the_loop(weight, kernel, lam):
    rng = np.random.default_rng(5)
    bn, kept = random_bn(rng, len(weight)), some_kept(len(weight))
    expected = reference.merge_released(reference.rows_of(weight), list(kept), bn, 0.1, lam)
    scaling = scaling_matrix(weight, kept, batchnorm=bn, lam=lam, kernel=kernel)
    np.testing.assert_array_equal(scaling.Z, expected)


def test_folded_form_equals_the_loop(weight, kernel):
    bn, kept = random_bn(np.random.default_rng(5), len(weight)), some_kept(len(weight))
    rows, biases = reference.fold(weight, bn)
    expected = reference.merge_folded(rows, biases, list(kept), 0.1, 0.85)
    scaling = scaling_matrix(weight, kept, batchnorm=bn, bn_form="folded", kernel=kernel)
    np.testing.assert_array_equal(scaling.Z, expected)


@pytest.mark.parametrize("with_bias", [False, True])
def test_batch_norm_folded_by_the_exporter(weight, kernel, with_bias):
    width, kept = len(weight), some_kept(len(weight))
    bias = np.random.default_rng(2).standard_normal(width) if with_bias else np.zeros(width)
    rows = reference.rows_of(weight)
    expected = reference.merge_folded(rows, bias, list(kept), 0.1, 0.85)
    scaling = scaling_matrix(
        weight, kept, bias=bias if with_bias else None, bn_form="folded", kernel=kernel
    )
    np.testing.assert_array_equal(scaling.Z, expected)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_small_weight_equals_the_loop(data):
    width = data.draw(st.integers(2, 9))
    length = data.draw(st.integers(1, 5))
    numbers = st.sampled_from([0.0, 1.0, -1.0, 0.5, 3.0, 1 + 2.0**-52, 1e-30, 1e30])
    flat = data.draw(st.lists(numbers, min_size=width * length, max_size=width * length))
    weight = np.array(flat).reshape(width, length)
    kept = sorted(data.draw(st.sets(st.integers(0, width - 1), min_size=1)))
    small = st.sampled_from([0.0, 1.0, -1.0, 0.25, 2.0])
    columns = data.draw(st.lists(small, min_size=4 * width, max_size=4 * width))
    gamma, beta, mean, var = np.array(columns).reshape(4, width)
    bn = BatchNorm(gamma, beta, mean, np.abs(var))
    linear = reference.merge_linear(reference.rows_of(weight), kept, 0.45)
    released = reference.merge_released(reference.rows_of(weight), kept, bn, 0.1, 0.85)
    for kernel in KERNELS:
        np.testing.assert_array_equal(scaling_matrix(weight, kept, kernel=kernel).Z, linear)
        np.testing.assert_array_equal(
            scaling_matrix(weight, kept, batchnorm=bn, kernel=kernel).Z, released
        )


@pytest.mark.parametrize("form", ["linear", "released", "folded"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_types_give_the_answer_of_their_float64_values(kernel, form, dtype):
    weight = ordinary(np.random.default_rng(8)).astype(dtype)
    options = {} if form == "linear" else {"bn_form": form}
    if form != "linear":
        options["batchnorm"] = random_bn(np.random.default_rng(9), len(weight))
    kept = some_kept(len(weight))
    narrow = scaling_matrix(weight, kept, kernel=kernel, threshold=-1, **options)
    wide = scaling_matrix(weight.astype(np.float64), kept, kernel=kernel, threshold=-1, **options)
    np.testing.assert_array_equal(narrow.assignment, wide.assignment)
    np.testing.assert_allclose(narrow.Z, wide.Z, rtol=1e-14)
    np.testing.assert_allclose(narrow.similarity, wide.similarity, rtol=1e-12, atol=1e-15)


def test_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    weight = ordinary(np.random.default_rng(8)).astype(ml_dtypes.bfloat16)
    kept = some_kept(len(weight))
    expected = scaling_matrix(weight.astype(np.float64), kept).Z
    np.testing.assert_allclose(scaling_matrix(weight, kept).Z, expected, rtol=1e-14)


def test_any_memory_layout(kernel, tmp_path):
    weight = four_axes(np.random.default_rng(4)).astype(np.float32)
    kept = some_kept(len(weight))
    expected = scaling_matrix(weight, kept, kernel=kernel).Z
    frozen = weight.copy()
    frozen.flags.writeable = False
    weight.tofile(tmp_path / "rows")
    layouts = [
        np.asfortranarray(weight),
        frozen,
        np.repeat(weight, 2, axis=0)[::2],
        weight.transpose(1, 0, 3, 2).copy().transpose(1, 0, 3, 2),
        np.memmap(tmp_path / "rows", np.float32, "r", shape=weight.shape),
    ]
    for layout in layouts:
        np.testing.assert_array_equal(scaling_matrix(layout, kept, kernel=kernel).Z, expected)


@pytest.mark.parametrize("form", ["linear", "released", "folded"])
def test_threads_and_kernels_agree(form):
    rng = np.random.default_rng(11)
    weight = rng.standard_normal((900, 120)).astype(np.float32)
    weight[::7] = weight[3]
    kept = some_kept(900)
    options = {} if form == "linear" else {"bn_form": form, "batchnorm": random_bn(rng, 900)}
    results = [
        scaling_matrix(weight, kept, kernel=kernel, threads=threads, threshold=-1, **options)
        for kernel in KERNELS
        for threads in (1, 2, 3)
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result.Z, results[0].Z)
        np.testing.assert_array_equal(result.similarity, results[0].similarity)


def test_blocks_give_the_same_answer_as_one_block(kernel, monkeypatch):
    rng = np.random.default_rng(12)
    weight, bn = rng.standard_normal((300, 20)), random_bn(rng, 300)
    weight[100:200] = weight[:100]
    kept = some_kept(300)
    whole = scaling_matrix(weight, kept, batchnorm=bn, kernel=kernel)
    monkeypatch.setattr(match, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(numpy_, "_STRIP", 50)
    monkeypatch.setattr(row_kernel, "_CHUNK_BYTES", 1)
    pieces = scaling_matrix(weight, kept, batchnorm=bn, kernel=kernel)
    np.testing.assert_array_equal(pieces.Z, whole.Z)


def test_powers_of_two_far_outside_the_range_of_squares(kernel):
    rng = np.random.default_rng(13)
    weight = rng.standard_normal((30, 8))
    kept = some_kept(30)
    power = rng.integers(-500, 500, 30)
    plain = scaling_matrix(weight, kept, threshold=-1, kernel=kernel)
    far = scaling_matrix(np.ldexp(weight, power[:, None]), kept, threshold=-1, kernel=kernel)
    expected = np.ldexp(plain.Z, power[None, :] - power[kept][:, None])
    np.testing.assert_array_equal(far.Z, expected)
    np.testing.assert_array_equal(far.similarity, plain.similarity)


def test_a_factor_beyond_float64_leaves_the_channel_out(kernel):
    scaling = scaling_matrix(np.array([[1e-200], [1e200]]), [0], kernel=kernel)
    assert scaling.assignment.tolist() == [0, -1]
    assert np.isfinite(scaling.Z).all()


def test_prune_is_the_unit_columns():
    scaling = scaling_matrix(np.ones((4, 2)), [1, 3], "prune")
    np.testing.assert_array_equal(scaling.Z, np.eye(4)[[1, 3]])
    assert scaling.merged == 0
    assert np.isnan(scaling.similarity[[0, 2]]).all()


def test_keeping_everything_changes_nothing(kernel):
    weight = ordinary(np.random.default_rng(0))
    scaling = scaling_matrix(weight, np.arange(len(weight)), kernel=kernel)
    np.testing.assert_array_equal(scaling.Z, np.eye(len(weight)))


def test_zero_rows_neither_merge_nor_are_merged_into(kernel):
    weight = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    scaling = scaling_matrix(weight, [0, 1], threshold=-1, kernel=kernel)
    assert scaling.assignment.tolist() == [0, 1, -1, 1]
    assert scaling.similarity.tolist() == [1, 1, 0, 1]


def test_only_zero_rows_kept(kernel):
    scaling = scaling_matrix(np.array([[0.0], [1.0]]), [0], threshold=-1, kernel=kernel)
    assert scaling.Z.tolist() == [[1, 0]]


def test_one_kept_channel_has_bias_distance_zero(kernel):
    rng = np.random.default_rng(0)
    weight, bn = rng.standard_normal((5, 4)), random_bn(rng, 5)
    scaling = scaling_matrix(weight, [2], batchnorm=bn, threshold=-1, kernel=kernel)
    expected = reference.merge_released(reference.rows_of(weight), [2], bn, -1, 0.85)
    np.testing.assert_array_equal(scaling.Z, expected)
    assert scaling.merged == 4


def test_equal_bias_distances_leave_the_choice_to_the_cosine(kernel):
    weight = np.array([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]])
    same = np.ones(3)
    bn = BatchNorm(same, 0 * same, 0 * same, same)
    assert scaling_matrix(weight, [0, 1], batchnorm=bn, kernel=kernel).assignment[2] == 1


@pytest.mark.parametrize("field", ["gamma", "var"])
def test_zero_gamma_or_variance_on_either_side(kernel, field):
    rng = np.random.default_rng(3)
    weight, bn = np.abs(rng.standard_normal((6, 4))), random_bn(rng, 6)
    getattr(bn, field)[[0, 5]] = 0
    scaling = scaling_matrix(weight, [0, 1, 2], batchnorm=bn, threshold=-1, kernel=kernel)
    assert scaling.assignment[5] == -1
    assert 0 not in scaling.assignment[[3, 4, 5]]
    assert np.isfinite(scaling.Z).all()


def test_negative_factors_stay_as_the_published_program_has_them(kernel):
    one = np.ones(2)
    bn = BatchNorm(np.array([1.0, -2.0]), 0 * one, 0 * one, one)
    scaling = scaling_matrix(np.ones((2, 3)), [0], batchnorm=bn, kernel=kernel)
    assert scaling.Z.tolist() == [[1.0, -0.5]]


def test_folded_form_without_variance_or_eps_leaves_the_channel_out(kernel):
    one = np.ones(3)
    bn = BatchNorm(one, one, one, np.array([0.0, 1.0, 1.0]), eps=0.0)
    scaling = scaling_matrix(np.ones((3, 2)), [1], batchnorm=bn, bn_form="folded", kernel=kernel)
    assert scaling.assignment.tolist() == [-1, 0, 0]


def test_a_bias_before_the_batch_norm_moves_its_mean(kernel):
    rng = np.random.default_rng(6)
    weight, bn, bias = rng.standard_normal((20, 5)), random_bn(rng, 20), rng.standard_normal(20)
    moved = BatchNorm(bn.gamma, bn.beta, bn.mean - bias, bn.var)
    for form in ("released", "folded"):
        with_bias = scaling_matrix(
            weight, np.arange(8), bias=bias, batchnorm=bn, bn_form=form, kernel=kernel
        )
        without = scaling_matrix(weight, np.arange(8), batchnorm=moved, bn_form=form, kernel=kernel)
        np.testing.assert_array_equal(with_bias.assignment, without.assignment)


def test_depthwise_is_the_outer_product(kernel):
    rng = np.random.default_rng(14)
    point, depth = rng.standard_normal((40, 11)), rng.standard_normal((40, 1, 3, 3))
    bn, kept = random_bn(rng, 40), some_kept(40)
    outer = np.einsum("nd,nk->ndk", point, depth.reshape(40, -1))
    for options in ({}, {"batchnorm": bn}, {"batchnorm": bn, "bn_form": "folded"}):
        factored = scaling_matrix(
            point, kept, depthwise=depth, threshold=-1, kernel=kernel, **options
        )
        whole = scaling_matrix(outer, kept, threshold=-1, kernel=kernel, **options)
        np.testing.assert_array_equal(factored.assignment, whole.assignment)
        np.testing.assert_allclose(factored.scale, whole.scale, rtol=1e-12)
        np.testing.assert_allclose(factored.similarity, whole.similarity, rtol=1e-9, atol=1e-12)


GOOD = np.ones((4, 3), dtype=np.float32)
BAD = [
    ({"weight": np.ones((4, 3), dtype=np.int8)}, "weight: got int8"),
    ({"weight": np.ones(4)}, r"weight: got shape \(4,\); need at least 2"),
    ({"weight": np.ones((0, 3))}, "weight: got the empty shape"),
    ({"weight": np.full((4, 3), np.nan)}, "weight: holds NaN or infinity"),
    ({"weight": np.full((4, 3), np.inf, dtype=np.float16)}, "weight: holds NaN or infinity"),
    ({"weight": np.ones((4, 3), dtype=complex)}, "weight: got complex128"),
    ({"kept": []}, r"kept: got shape \(0,\)"),
    ({"kept": [1, 1]}, "kept: 1 does not ascend after 1"),
    ({"kept": [2, 1]}, "kept: 1 does not ascend after 2"),
    ({"kept": [0, 4]}, "kept: got 4; need indices from 0 to 3"),
    ({"kept": [-1, 2]}, "kept: got -1"),
    ({"kept": [0.0, 1.0]}, "kept: got float64"),
    ({"kept": [[0]]}, r"kept: got shape \(1, 1\)"),
    ({"method": "average"}, "method: got 'average'; need one of merge, prune|method: got"),
    ({"bias": np.ones(3)}, r"bias: got shape \(3,\); need \(4,\)"),
    ({"bias": np.array([0, 0, np.nan, 0])}, "bias: holds NaN"),
    ({"bn_form": "frozen"}, "bn_form: got 'frozen'; need one of folded, released"),
    ({"lam": 1.1}, "lam: got 1.1"),
    ({"lam": "much"}, "lam: got 'much'"),
    ({"threshold": 2}, "threshold: got 2"),
    ({"kernel": "cobol"}, "kernel: got 'cobol'; need one of auto"),
    ({"threads": 0}, "threads: got 0"),
    ({"depthwise": np.ones((3, 9))}, r"depthwise: got shape \(3, 9\)"),
    ({"batchnorm": BatchNorm(np.ones(4), np.ones(4), np.ones(4), np.ones(3))}, "batchnorm.var"),
    ({"batchnorm": BatchNorm(*np.ones((3, 4)), -np.ones(4))}, "batchnorm.var: got -1.0"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_bad_arguments_are_named(wrong, message):
    arguments = {"weight": GOOD, "kept": [0, 2], "method": "merge", **wrong}
    with pytest.raises(ArgumentError, match=message):
        scaling_matrix(**arguments)


@pytest.mark.parametrize("kernel", ["numpy", "numba"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", [1, 2])
def test_one_unusable_number_is_seen_wherever_it_is(kernel, dtype, wrong, channel):
    """Merging looks while it reads: in kept rows, in removed ones, and where none can be merged."""
    for scale in (1, 0):
        weight = scale * np.ones((4, 300), dtype=dtype)
        weight[channel, 257] = wrong
        for options in ({}, {"bn_form": "folded"}, {"depthwise": np.ones((4, 9))}):
            with pytest.raises(ArgumentError, match="weight: holds NaN or infinity"):
                scaling_matrix(weight, [0, 2], kernel=kernel, **options)


def test_huge_finite_numbers_are_no_infinity():
    for rows in (np.full((4, 3), 3e38, dtype=np.float32), np.full((4, 3), 1e308)):
        np.testing.assert_allclose(scaling_matrix(rows, [0]).Z, np.ones((1, 4)))


def test_a_batch_norm_that_is_none():
    with pytest.raises(ArgumentError, match=r"batchnorm: got tuple; need an nmcore\.BatchNorm"):
        scaling_matrix(np.eye(3), [0, 1], batchnorm=(1, 2, 3, 4))
