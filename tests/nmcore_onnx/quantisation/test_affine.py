import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmcore_onnx.quantisation.affine import Affine

FORMS = st.sampled_from(["tensor", "channel", "block"])
KINDS = {np.int8: 8, np.uint8: 8, np.int16: 16, ml_dtypes.int4: 4, ml_dtypes.uint4: 4}


@st.composite
def forms(draw):
    """Integers of random types, that one scale, one a channel or one a block turns into numbers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    kind = draw(st.sampled_from([*KINDS]))
    bits = KINDS[kind]
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 2)))
    low = 0 if "u" in np.dtype(kind).name else -(2 ** (bits - 1))
    high = low + 2**bits
    integers = rng.integers(low, high, shape).astype(kind)
    form, axis = draw(FORMS), draw(st.integers(0, 2))
    block = draw(st.integers(1, 4)) if form == "block" else 0
    sizes = {
        "tensor": (),
        "channel": (shape[axis],),
        "block": tuple(-(-n // block) if k == axis else n for k, n in enumerate(shape))
        if block
        else (),
    }[form]
    scale = rng.uniform(0.01, 2, sizes) / 2 ** max(0, bits - 10)
    scale = scale.astype(draw(st.sampled_from([np.float32, np.float16])))
    middle = (low + high) // 2
    zero = np.full(sizes, middle) if draw(st.booleans()) else rng.integers(low, high, sizes)
    axis = None if form == "tensor" else axis
    return Affine(integers, scale, zero.astype(kind), axis, block, bits)


@settings(max_examples=60, deadline=None)
@given(forms())
def test_the_same_numbers_keep_their_integers(affine):
    again = affine.requantised(affine.values())
    assert again.integers.dtype == affine.integers.dtype
    assert np.array_equal(again.integers, affine.integers)
    assert np.array_equal(again.scale, affine.scale)


@settings(max_examples=60, deadline=None)
@given(forms(), st.integers(0, 2), st.integers(0, 2**20))
def test_numbers_that_are_left_keep_their_integers(affine, axis, seed):
    keep = np.random.default_rng(seed).random(affine.integers.shape[axis]) < 0.6
    keep[0] = True
    if keep.all() or (affine.block and axis == affine.axis):
        return
    left = affine.requantised(np.compress(keep, affine.values(), axis), {axis: keep})
    assert np.array_equal(left.integers, np.compress(keep, affine.integers, axis))
    assert np.array_equal(left.values(), np.compress(keep, affine.values(), axis))


@settings(max_examples=80, deadline=None)
@given(forms(), st.integers(0, 2**20), st.floats(1e-2, 30), st.booleans())
def test_other_numbers_are_as_near_as_levels_of_their_range_allow(affine, seed, size, positive):
    values = np.random.default_rng(seed).standard_normal(affine.integers.shape) * size
    values = np.abs(values) if positive else values
    again = affine.requantised(values.astype(affine.scale.dtype))
    error = np.abs(again.values().astype(float) - values).max()
    span = np.ptp(np.append(values, 0)) if not affine._is_symmetric else 2 * np.abs(values).max()
    low, high = affine._levels
    # As many levels as the original uses: of a set without a scale of its own least squares may
    # leave one number further off, so the bound is of the whole range.
    levels = min(high - low, 2 * max(1, high - int(affine._zeros.max())))
    assert error <= max(span / levels, span * 2e-3) * 3


def test_a_scale_of_few_digits_cuts_nothing_off():
    """Half precision holds scales near 5e-7 in steps of an eighth of them."""
    zero = np.array(-12595, np.int16)
    affine = Affine(np.int16([[22978, 8975]]), np.float16(0.008545), zero, bits=16)
    values = np.float16([[0.01572, -0.01651]])
    again = affine.requantised(values)
    assert np.abs(again.values() - values).max() <= 2e-5  # half a digit of the numbers


def test_less_than_all_bits_stay_so():
    """onnxruntime's reduce_range leaves one of eight bits unused, against overflows."""
    integers = np.array([[-64, 64, 3], [5, 0, -7]], np.int8)
    affine = Affine(integers, np.float32(0.1))
    again = affine.requantised(np.float32([[20, -3, 1], [0, 4, 5]]))
    assert np.abs(again.integers.astype(int)).max() == 64


def test_integers_that_cannot_be_negative_get_a_zero_point():
    affine = Affine(np.array([[0, 255], [8, 100]], np.uint8), np.float32(0.1))
    values = np.float32([[-3, 5], [1, 2]])
    again = affine.requantised(values)
    assert again.zero is not None
    assert np.abs(again.values() - values).max() < 0.05


def test_negative_scales_stay_in_use():
    """As onnxruntime writes four bits: the number furthest from zero takes the lowest level."""
    integers = np.array([[0, 12, 8, 8]], np.uint8)
    affine = Affine(integers, np.float32([[-0.5]]), np.uint8([[8]]), 1, 4, 4)
    again = affine.requantised(np.float32([[8, -4, 1, 0]]))
    assert again.scale.tolist() == [[-1.0]]
    assert again.values().tolist() == [[8, -4, 1, 0]]


@pytest.mark.parametrize("order", [(1, 0), (0, 1)])
def test_axes_in_another_order(order):
    integers = np.arange(12, dtype=np.uint8).reshape(3, 4)
    zero = np.full((3, 2), 8, np.uint8)
    affine = Affine(integers, np.float32([[1, 2], [3, 4], [5, 6]]), zero, 1, 2, 4)
    turned = affine.transposed(order)
    assert np.array_equal(turned.values(), affine.values().transpose(order))
    assert np.array_equal(turned.requantised(turned.values()).integers, turned.integers)
