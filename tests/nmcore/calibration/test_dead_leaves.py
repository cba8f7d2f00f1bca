"""Dead leaves: made pictures with edges, flat regions and correlated colours."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.calibration.dead_leaves import UNKNOWN, dead_leaves, first_layer_inputs


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
    assert 0.1 < x.std() < 0.35


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


def test_some_pictures_show_an_object_on_plain_ground():
    x = dead_leaves(300, 3, (32, 32))
    edges = np.stack([x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]])
    alone = x[edges.std((0, 2, 3)) == 0]
    assert 0.05 < len(alone) / len(x) < 0.5
    assert {0.0, 1.0} == set(np.unique(alone[:, :, 0, 0]))
    ink = np.abs(alone - alone[:, :, :1, :1]).mean((0, 1))
    assert ink[12:20, 12:20].mean() > 3 * ink[:4].mean()


def test_axes_of_length_1_count_for_nothing():
    flat, line = dead_leaves(20, 2, (1, 40)), dead_leaves(20, 2, (40,))
    assert np.array_equal(flat[:, :, 0], line)


class TestFirstLayerInputs:
    rows = np.random.default_rng(1).standard_normal((5, 12)) * np.linspace(0, 2, 12)

    def test_covariance(self):
        x = first_layer_inputs(self.rows, 200_000, seed=3)
        gram = self.rows.T @ self.rows
        wanted = (1 - UNKNOWN) * gram / gram.trace() * 12 + UNKNOWN * np.eye(12)
        np.testing.assert_allclose(np.cov(x.T), wanted, atol=0.05)
        np.testing.assert_allclose(x.mean(0), 0, atol=0.02)

    def test_the_scale_of_the_rows_does_not_matter(self):
        one, other = (first_layer_inputs(scale * self.rows, 9) for scale in (1, 1e-3))
        np.testing.assert_allclose(one, other, rtol=1e-5)

    def test_the_seed_decides(self):
        one, same, other = (first_layer_inputs(self.rows, 9, seed=seed) for seed in (1, 1, 2))
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_rows_of_nothing(self):
        x = first_layer_inputs(np.zeros((3, 4)), 1000)
        assert x.dtype == np.float32
        assert x.std() == pytest.approx(1, abs=0.1)
