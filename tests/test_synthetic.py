"""Dead leaves: made pictures with edges, flat regions and correlated colours."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.synthetic import dead_leaves


@pytest.mark.parametrize(
    ("channels", "size"),
    [
        (3, (32, 32)),
        (1, (17, 40)),
        (5, (64,)),
        (2, (9, 8, 7)),
        (3, (1, 1)),
        (4, (1, 50)),
        (1, (1,)),
    ],
)
def test_shape_range_and_type(channels, size):
    x = dead_leaves(4, channels, size)
    assert x.shape == (4, channels, *size)
    assert x.dtype == np.float32
    assert x.min() >= 0
    assert x.max() <= 1


def test_the_seed_decides():
    one, same, other = (dead_leaves(3, 3, (16, 16), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one[0], one[1])


def test_the_seed_is_the_only_source(monkeypatch):
    np.random.seed(0)
    one = dead_leaves(2, 1, (8, 8))
    np.random.seed(1)
    assert np.array_equal(dead_leaves(2, 1, (8, 8)), one)


def test_more_pictures_begin_with_the_same():
    assert np.array_equal(dead_leaves(5, 3, (16, 16))[:2], dead_leaves(2, 3, (16, 16)))


def test_values_use_the_range():
    x = dead_leaves(50, 3, (16, 16))
    assert x.mean() == pytest.approx(0.5, abs=0.05)
    assert 0.1 < x.std() < 0.25


def test_neighbours_and_colours_are_correlated_and_pictures_are_not():
    x = dead_leaves(60, 3, (32, 32))

    def correlation(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    assert correlation(x[:, :, :, 1:], x[:, :, :, :-1]) > 0.7
    assert correlation(x[:, :, 1:], x[:, :, :-1]) > 0.7
    near, far = (correlation(x[..., step:], x[..., :-step]) for step in (2, 16))
    assert near > far + 0.2
    assert 0.4 < correlation(x[:, 0], x[:, 1]) < 0.98
    assert abs(correlation(x[:30], x[30:])) < 0.1


def test_there_are_flat_regions_and_edges():
    x = dead_leaves(8, 1, (64, 64))
    steps = np.abs(np.diff(x, axis=-1))
    assert (steps == 0).mean() > 0.4
    assert (steps > 0.05).mean() > 0.02


def test_signals_have_flat_regions_too():
    steps = np.abs(np.diff(dead_leaves(8, 1, (500,)), axis=-1))
    assert 0.3 < (steps == 0).mean() < 1
