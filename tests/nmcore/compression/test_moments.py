"""Moments from the sums that a probe gives."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.compression.moments import (
    accumulate,
    average,
    linear,
    measured,
    stream_variance,
)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4)) @ rng.standard_normal((4, 4)) + 3
    return x, rng.standard_normal((50, 3)) + x[:, :3]


def sums(x, y=None):
    found = [np.array([float(len(x))]), x.sum(0), x.T @ x]
    if y is not None:
        found += [y.sum(0), np.square(y).sum(0), x.T @ y]
    return iter(found)


def test_measured(rows):
    x, y = rows
    moments = measured(sums(x, y))
    assert moments.rows == 50
    np.testing.assert_allclose(moments.mean, x.mean(0))
    np.testing.assert_allclose(moments.covariance, np.cov(x, rowvar=False, bias=True))
    np.testing.assert_allclose(moments.target_mean, y.mean(0))
    np.testing.assert_allclose(moments.target_variance, y.var(0))
    joint = np.cov(np.hstack([x, y]), rowvar=False, bias=True)
    np.testing.assert_allclose(moments.cross, joint[:4, 4:], atol=1e-12)


def test_linear_is_measured_where_the_target_is_linear(rows):
    x, _ = rows
    matrix, bias = np.arange(12.0).reshape(4, 3), np.array([1.0, -2.0, 0.5])
    expected = measured(sums(x, x @ matrix + bias))
    moments = linear(sums(x), matrix, bias)
    for name in ("rows", "mean", "covariance", "target_mean", "target_variance", "cross"):
        np.testing.assert_allclose(
            getattr(moments, name), getattr(expected, name), rtol=1e-6, atol=1e-9, err_msg=name
        )


def test_rounding_makes_no_negative_variance(rows):
    x, _ = rows
    y = np.full((50, 1), 1e4)
    found = list(sums(x, y))
    found[4] *= 1 - 1e-9
    assert measured(iter(found)).target_variance == 0


def test_several_consumers_read_one_run_of_sums(rows):
    x, y = rows
    stream = iter([*sums(x), *sums(x[:10], y[:10])])
    linear(stream, np.ones((4, 3)), np.zeros(3))
    assert measured(stream).rows == 10
    assert next(stream, None) is None


def test_variance_of_a_sum_of_values(rows):
    _, y = rows
    found = stream_variance(iter([y.sum(0), np.square(y).sum(0)]), 50.0)
    np.testing.assert_allclose(found, y.var(0).sum())


class Adder:
    """Stands for a session: one scalar and one vector a batch, in single precision."""

    def run(self, feeds, *, divisible=False):
        x = feeds["x"]
        return [np.float32([len(x)]), x.sum(0, dtype=np.float32)]


def test_batches_add_up_in_double_precision():
    x = np.full((3, 2), np.float32(2**24), np.float32)
    batches = [{"x": x}, {"x": np.ones((1, 2), np.float32)}, {"x": x[:2]}]
    count, total = accumulate(Adder(), batches)
    assert count == 6
    assert total.dtype == np.float64
    assert total.tolist() == [5 * 2**24 + 1] * 2


def test_the_outputs_of_a_session_are_not_written_to():
    class Reused:
        def __init__(self):
            self.array = np.ones(2)

        def run(self, feeds, *, divisible=False):
            return [self.array]

    session = Reused()
    (total,) = accumulate(session, [{}, {}, {}])
    assert total.tolist() == [3, 3]
    assert session.array.tolist() == [1, 1]


def test_average():
    batches = [{"x": np.float32([[1], [2]])}, {"x": np.float32([[3], [6]])}]
    count, total = average(Adder(), batches)
    assert (count, total) == (2, 6)
