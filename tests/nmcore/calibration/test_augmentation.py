"""Copies of calibration pictures: what they are, and which inputs get them."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.calibration.augmentation import (
    MOVES,
    VERSIONS,
    augmented,
    copies,
)
from nmcore.calibration.calibration_set import CalibrationSet


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def probes(*batches):
    return CalibrationSet([{"input": x} for x in batches], sum(map(len, batches)), True, "here")


def shown(found):
    return [feeds["input"] for feeds in found.batches]


@pytest.mark.parametrize("last", [False, True])
def test_moved_copies_keep_the_inside(last):
    x = pictures(9, 3, 16, 20)
    versions = [
        np.moveaxis(v, -1, 1) if last else v
        for v in copies(np.moveaxis(x, 1, -1) if last else x, last=last)
    ]
    assert len(versions) == len({v.tobytes() for v in versions}) == VERSIONS
    np.testing.assert_array_equal(versions[0], x)
    for (down, right), version in zip(MOVES, versions[1:], strict=False):
        inside = version[:, :, 1 + down : 15 + down, 1 + right : 19 + right]
        np.testing.assert_array_equal(inside, x[:, :, 1:15, 1:19])


def test_borders_are_repeated():
    x = pictures(1, 1, 16, 16)
    moved = list(copies(x, last=False))[1 + MOVES.index((0, 1))]
    np.testing.assert_array_equal(moved[..., 0], x[..., 0])


def test_halves_come_from_another_picture():
    """Every picture is one number, so each half tells where it is from."""
    x = np.arange(8.0).reshape(8, 1, 1, 1) * np.ones((1, 1, 4, 6))
    upper, lower, left, right = list(copies(x, last=False))[-4:]
    for version, own, other in (
        (upper, np.s_[..., 2:, :], np.s_[..., :2, :]),
        (lower, np.s_[..., :2, :], np.s_[..., 2:, :]),
        (left, np.s_[..., 3:], np.s_[..., :3]),
        (right, np.s_[..., :3], np.s_[..., 3:]),
    ):
        np.testing.assert_array_equal(version[own], x[own])
        donors = version[other].reshape(8, -1)
        assert sorted(donors[:, 0]) == list(range(8))
        assert (donors == donors[:, :1]).all()


class TestWithCopies:
    def test_batches_stay_as_long_as_they_are(self):
        first, second = pictures(4, 3, 16, 16), pictures(2, 3, 16, 16, seed=1)
        found = augmented(probes(first, second), 3)
        assert found.count == 18
        assert [len(batch) for batch in shown(found)] == [4, 2] * 3
        np.testing.assert_array_equal(shown(found)[0], first)
        np.testing.assert_array_equal(shown(found)[1], second)

    def test_bytes_stay_bytes(self):
        (batch, *_) = shown(augmented(probes(np.zeros((2, 16, 16, 3), np.uint8)), VERSIONS))
        assert batch.dtype == np.uint8

    def test_no_more_than_there_are(self):
        assert augmented(probes(pictures(2, 3, 16, 16)), 10_000).count == 2 * VERSIONS

    @pytest.mark.parametrize(
        "shape", [(4, 3, 8, 8), (4, 32, 16, 16), (4, 48), (4, 3, 48), (4, 3, 16, 16, 16)]
    )
    def test_what_is_no_picture_gets_none(self, shape):
        given = probes(pictures(*shape))
        assert augmented(given, VERSIONS) is given

    def test_several_inputs_get_none(self):
        feeds = {"picture": pictures(2, 3, 16, 16), "mask": np.ones((2, 3, 16, 16), bool)}
        given = CalibrationSet([feeds], 2, True, "here")
        assert augmented(given, VERSIONS) is given
