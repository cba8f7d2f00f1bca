"""Moments from the sums that a probe gives."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.compression.moments import Sums, add_outputs, average
from unfolding import sums


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4)) @ rng.standard_normal((4, 4)) + 3
    return x, rng.standard_normal((50, 3)) + x[:, :3]


def put_together(*parts, stream=False):
    found = Sums()
    for x, *y in parts:
        outputs = sums(x, *y)
        found.add(outputs[:5] if stream else outputs)
    return found


def assert_alike(one, other):
    for name in ("rows", "mean", "covariance", "target_mean", "target_variance", "cross"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-9, err_msg=name
        )


@pytest.mark.parametrize("cuts", [[], [20], [1, 30, 49]])
def test_measured(rows, cuts):
    x, y = rows
    moments = put_together(*zip(np.split(x, cuts), np.split(y, cuts), strict=True)).measured()
    assert moments.rows == 50
    np.testing.assert_allclose(moments.mean, x.mean(0))
    np.testing.assert_allclose(moments.covariance, np.cov(x, rowvar=False, bias=True))
    np.testing.assert_allclose(moments.target_mean, y.mean(0))
    np.testing.assert_allclose(moments.target_variance, y.var(0))
    joint = np.cov(np.hstack([x, y]), rowvar=False, bias=True)
    np.testing.assert_allclose(moments.cross, joint[:4, 4:], atol=1e-12)


def test_what_is_linear_is_as_measured(rows):
    x, _ = rows
    matrix, bias = np.arange(12.0).reshape(4, 3), np.array([1.0, -2.0, 0.5])
    expected = put_together((x, x @ matrix + bias)).measured()
    assert_alike(put_together((x,)).moments_of(matrix, bias), expected)


def test_a_channel_that_hardly_varies_keeps_its_variance(rows):
    """In single precision, as probes run: far from zero, with a spread of one in 100,000."""
    x = np.float32(1000 + 0.01 * rows[0])
    parts = [[each.astype(np.float32) for each in sums(part)] for part in np.split(x, 5)]
    found = Sums()
    for part in parts:
        found.add(part)
    covariance = found.moments_of(np.eye(4), np.zeros(4)).covariance
    exact = np.cov(x.astype(np.float64), rowvar=False, bias=True)
    np.testing.assert_allclose(covariance, exact, rtol=1e-2)


def test_the_outputs_of_several_readings(rows):
    x, y = rows
    found = [Sums(), Sums()]
    for part in (slice(0, 20), slice(20, 50)):
        outputs = [*sums(x[part]), *sums(x[part, :2], y[part])]
        add_outputs(found, outputs, [3, 6])
    assert found[0].rows == found[1].rows == 50
    assert_alike(found[1].measured(), put_together((x[:, :2], y)).measured())


def test_variance_of_a_sum_of_values(rows):
    x, y = rows
    found = put_together((x[:10], y[:10]), (x[10:], y[10:]), stream=True)
    np.testing.assert_allclose(found.stream_variance(), y.var(0).sum())


def test_a_run_without_rows_says_nothing(rows):
    """All positions of a short run may be padding: its means are those of nothing."""
    found = put_together(rows)
    found.add([np.zeros(1), *(np.full_like(each, np.nan) for each in sums(*rows)[1:])])
    assert found.is_finite
    assert_alike(found.measured(), put_together(rows).measured())


@pytest.mark.parametrize("where", [1, 2])
def test_infinity_is_seen(rows, where):
    outputs = sums(rows[0])
    assert put_together((rows[0],)).is_finite
    outputs[where].flat[0] = np.inf
    found = Sums()
    found.add(outputs)
    assert not found.is_finite


class Adder:
    """Stands for a session: one scalar and one vector a batch, in single precision."""

    def run(self, feeds, *, divisible=False):
        x = feeds["x"]
        return [np.float32([len(x)]), x.sum(0, dtype=np.float32)]


class Probe:
    """Stands for a session: the sums of its inputs, always in the same arrays."""

    def __init__(self):
        self.outputs = [np.zeros(1, np.float32), np.zeros(2, np.float32), np.zeros((2, 2))]

    def run(self, feeds, *, divisible=False):
        for array, found in zip(self.outputs, sums(feeds["x"]), strict=True):
            array[...] = found
        return self.outputs


def test_collecting_keeps_nothing_that_a_session_may_write_to(rows):
    x = rows[0][:, :2].astype(np.float32)
    probe, found = Probe(), Sums()
    for part in (x[:30], x[30:]):
        add_outputs([found], probe.run({"x": part}), [3])
    moments = found.moments_of(np.eye(2), np.zeros(2))
    np.testing.assert_allclose(moments.covariance, np.cov(x, rowvar=False, bias=True), rtol=1e-5)


def test_average():
    batches = [{"x": np.float32([[1], [2]])}, {"x": np.float32([[3], [6]])}]
    count, total = average(Adder(), batches)
    assert (count, total) == (2, 6)
