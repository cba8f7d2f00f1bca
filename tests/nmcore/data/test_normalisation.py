"""What raw inputs go through on their way to the model."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.data.dataset import Dataset
from nmcore.data.loading import load
from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError

IMAGES = np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2)


def batch(data, chosen=slice(None), dtype=np.float32):
    return data.take("x", chosen, dtype)


class TestNormalisation:
    def test_one_mean_a_channel(self, saved):
        data = load(saved(x=IMAGES), scale=255, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
        mean = np.float32([0.1, 0.2, 0.3]).reshape(3, 1, 1)
        std = np.float32([0.5, 0.6, 0.7]).reshape(3, 1, 1)
        want = (IMAGES.astype(np.float32) / np.float32(255) - mean) / std
        assert np.array_equal(batch(data), want)
        assert batch(data, slice(1, 3)).dtype == np.float32

    def test_channels_last(self, saved):
        images = np.moveaxis(IMAGES, 1, -1)
        first = batch(load(saved(x=IMAGES), mean=[1, 2, 3]))
        last = batch(load(saved(x=images), mean=[1, 2, 3]))
        assert np.array_equal(np.moveaxis(first, 1, -1), last)

    def test_bytes_stay_bytes_until_a_batch_is_taken(self, saved):
        data = load(saved(x=IMAGES), scale=255, mean=[0.5], std=[0.5])
        assert data.arrays["x"].dtype == np.uint8

    def test_without_options_x_is_handed_over_as_it_is(self, saved):
        data = load(saved(x=IMAGES))
        assert np.array_equal(batch(data, slice(2), np.uint8), IMAGES[:2])
        assert np.array_equal(batch(data, slice(2)), IMAGES[:2].astype(np.float32))

    def test_half_precision_is_rounded_once(self):
        data = Dataset("d", IMAGES, None, Normalisation(255.0, (0.3,), (0.2,)))
        assert np.array_equal(batch(data, dtype=np.float16), batch(data).astype(np.float16))

    def test_the_file_is_not_changed_by_a_batch(self, saved):
        data = load(saved(x=IMAGES.astype(np.float32)), mean=[1.0])
        assert np.array_equal(batch(data), batch(data))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"mean": [1] * 5}, "mean or std has 5 numbers"),
            ({"std": [1, 2, 3, 4]}, "mean or std has 4 numbers"),
            ({"mean": [1, 2, 3], "std": [1, 2]}, "mean has 3 numbers and std has 2"),
            ({"std": [0]}, "cannot be 0"),
            ({"scale": 0}, "cannot be 0"),
            ({"scale": float("nan")}, "finite numbers are needed"),
            ({"mean": []}, "mean is empty"),
        ],
    )
    def test_numbers_that_do_not_fit(self, saved, options, message):
        with pytest.raises(DataError, match=message):
            load(saved(x=IMAGES), **options)
