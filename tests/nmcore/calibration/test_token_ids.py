"""Integers for inputs that a graph looks up in tables."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.calibration.token_ids import SMALL_IDS, in_segments, token_ids
from nmcore.plugins.inputs import InputHint, InputSpec


def made(shape, *, name="ids", dtype=np.int64, seed=0, **told):
    spec = InputSpec(name, (None, *shape[1:]), np.dtype(dtype))
    return token_ids(np.random.default_rng(seed), shape, spec, InputHint(**told))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("rows", [20, 30_522])
def test_the_whole_table_is_covered(rows, dtype):
    ids = made((500, 32), dtype=dtype, ids=rows)
    assert ids.dtype == dtype
    assert ids.min() >= 0
    assert ids.max() < rows
    counts, _ = np.histogram(ids, 10, (0, rows))
    assert counts.min() > 0.8 * ids.size / 10


def test_few_rows_where_nothing_tells_of_a_table():
    assert np.unique(made((100, 20))).tolist() == [*range(SMALL_IDS)]


def test_the_seed_decides():
    one, same, other = (made((2, 9), ids=100, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_type_may_be_too_small_for_the_table():
    ids = made((100, 20), dtype=np.int8, ids=30_522)
    assert 0 <= ids.min() <= ids.max() < 127


@pytest.mark.parametrize("name", ["attention_mask", "Mask", "padding_mask"])
def test_masks_let_everything_through(name):
    assert (made((4, 20), name=name) == 1).all()
    assert (made((4, 20), mask=True) == 1).all()


def test_positions_count_up():
    ids = made((3, 20), name="position_ids", ids=16)
    assert ids.tolist() == [[*range(16), 0, 1, 2, 3]] * 3


def test_segments_are_mostly_of_one_kind_and_ascend():
    rng, told = np.random.default_rng(0), InputHint(ids=2)
    ids = in_segments(rng, made((400, 20), name="token_type_ids", ids=2), told)
    assert ids.dtype == np.int64
    assert set(np.unique(ids)) == {0, 1}
    assert (np.diff(ids) >= 0).all()
    assert 0.6 < (ids == 0).all(axis=1).mean() < 0.9


@pytest.mark.parametrize("told", [{}, {"ids": 9}])
def test_other_ids_are_no_segments(told):
    ids = made((50, 20), **told)
    assert np.array_equal(in_segments(np.random.default_rng(0), ids, InputHint(**told)), ids)
