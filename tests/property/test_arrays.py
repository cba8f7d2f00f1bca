"""The array API: whatever comes in, a documented error or a finite result goes out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nmcore
from nmcore.errors import ArgumentError

# `pytest --hypothesis-profile long` tries a hundred times as many.
settings.register_profile("default", deadline=None, max_examples=60, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=6_000)
settings.load_profile("default")

FLOATS = (np.float16, np.float32, np.float64)
CRITERIA = ("l1", "l2", "l2-gm", "random", "out-norm")
METHODS = ("prune", "merge", "ridge", "nmf")

# Far inside the range of each type, so that no sum overflows: then results must be finite.
LIMIT = {np.float16: 10.0, np.float32: 1e6, np.float64: 1e6}


@st.composite
def weights(draw: st.DrawFn) -> np.ndarray:
    """Sound weights: 1 to 12 rows of any rank, float type and memory layout."""
    dtype = draw(st.sampled_from(FLOATS))
    shape = (draw(st.integers(1, 12)), *draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    numbers = st.floats(-LIMIT[dtype], LIMIT[dtype], width=np.dtype(dtype).itemsize * 8)
    array = draw(hnp.arrays(dtype, shape, elements=numbers))
    layout = draw(st.sampled_from(("C", "F", "strided", "equal rows")))
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "strided":
        return np.repeat(array, 2, axis=1)[:, ::2]
    if layout == "equal rows":
        return np.broadcast_to(array[:1], shape)
    return array


# Anything that a caller may hand over by mistake, or with intent.
ANYTHING = st.one_of(
    hnp.arrays(
        st.sampled_from(FLOATS), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    ),
    hnp.arrays(
        st.sampled_from(
            (np.int8, np.int64, np.bool_, np.complex64, np.dtype("U2"), np.dtype("M8[s]"))
        ),
        hnp.array_shapes(max_dims=3, max_side=4),
    ),
    st.none(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.floats(), max_size=4),
    st.lists(st.lists(st.floats(), max_size=2), max_size=3),
    st.just(object()),
)
SEEDS = st.integers(0, 2**32 - 1)


def told(call: Callable, *arguments, **options):
    """What a call gives, or None where it says in one line why it cannot."""
    try:
        return call(*arguments, **options)
    except ArgumentError as error:
        message = str(error)
    assert message
    assert "\n" not in message
    return None


def is_finite(array: np.ndarray | None) -> bool:
    return array is None or bool(np.isfinite(array).all())


@given(st.data(), weights(), st.sampled_from(CRITERIA), SEEDS)
def test_sound_weights_select(data, weight, criterion, seed):
    width = len(weight)
    keep = data.draw(st.integers(1, width))
    next_weight = np.random.default_rng(seed).standard_normal((3, width)).astype(weight.dtype)
    kept = nmcore.select(weight, keep, criterion, next_weight=next_weight, seed=seed)
    assert kept.shape == (keep,)
    assert np.array_equal(kept, np.unique(kept))
    assert 0 <= kept[0] <= kept[-1] < width
    again = nmcore.select(weight, keep, criterion, next_weight=next_weight, seed=seed)
    np.testing.assert_array_equal(kept, again)


@given(st.data(), weights(), st.sampled_from(METHODS), SEEDS)
def test_sound_weights_merge(data, weight, method, seed):
    width = len(weight)
    kept = np.sort(data.draw(st.permutations(range(width)))[: data.draw(st.integers(1, width))])
    before = weight.copy()
    scaling = nmcore.scaling_matrix(weight, kept, method)
    assert scaling.Z.shape == (len(kept), width)
    assert is_finite(scaling.Z)
    assert is_finite(scaling.shift)
    np.testing.assert_array_equal(weight, before)
    if method != "nmf":  # which rebuilds kept channels too
        np.testing.assert_array_equal(scaling.Z[:, kept], np.eye(len(kept)))
    repeat = data.draw(st.integers(1, 3))
    reader = np.random.default_rng(seed).standard_normal((4, width * repeat)).astype(np.float32)
    small, _ = nmcore.absorb(reader, scaling, repeat=repeat)
    assert small.shape == (4, len(kept) * repeat)
    wanted = np.einsum("ont,pn->opt", reader.reshape(4, width, repeat).astype(float), scaling.Z)
    scale = np.abs(reader).astype(float).sum() * max(1.0, np.abs(scaling.Z).max())
    np.testing.assert_allclose(small, wanted.reshape(small.shape), atol=1e-6 * scale)


@given(ANYTHING, ANYTHING, st.sampled_from((*CRITERIA, "error", "no such")), ANYTHING, ANYTHING)
def test_anything_to_select(weight, keep, criterion, bias, next_weight):
    kept = told(nmcore.select, weight, keep, criterion, bias=bias, next_weight=next_weight)
    assert kept is None or (kept.dtype, len(kept)) == (np.intp, keep)


@given(ANYTHING, ANYTHING, st.sampled_from((*METHODS, "moments", "no such")), ANYTHING, ANYTHING)
def test_anything_to_scaling_matrix(weight, kept, method, bias, threshold):
    scaling = told(nmcore.scaling_matrix, weight, kept, method, bias=bias, threshold=threshold)
    assert scaling is None or scaling.Z.shape == (len(scaling.kept), len(weight))


@given(weights(), ANYTHING, st.sampled_from(METHODS))
def test_anything_kept(weight, kept, method):
    scaling = told(nmcore.scaling_matrix, weight, kept, method)
    assert scaling is None or is_finite(scaling.Z)


@given(ANYTHING, ANYTHING, ANYTHING, st.integers(-3, 3))
def test_anything_to_absorb(reader, bias, repeat, axis):
    scaling = nmcore.scaling_matrix(np.eye(4), [0, 2])
    found = told(nmcore.absorb, reader, scaling, next_bias=bias, repeat=repeat, axis=axis)
    assert found is None or found[0].shape[axis] == 2 * repeat


@pytest.mark.parametrize("scale", [1e-45, 1e-38, 1e38, 3e38])
@pytest.mark.parametrize("method", METHODS)
def test_weights_at_the_ends_of_their_type(scale, method):
    """Norms overflow or vanish there; NaN must not come of it."""
    weight = (np.random.default_rng(0).choice([-1.0, 1.0], (6, 4)) * scale).astype(np.float32)
    kept = told(nmcore.select, weight, 3, "l2")
    scaling = None if kept is None else told(nmcore.scaling_matrix, weight, kept, method)
    assert scaling is None or is_finite(scaling.Z)
