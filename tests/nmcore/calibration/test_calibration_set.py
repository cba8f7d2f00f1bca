"""Calibration data spread over the file, in batches that a model takes."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.calibration.calibration_set import from_data
from nmcore.data.dataset import Dataset
from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError
from nmcore.plugins.inputs import InputSpec


def spec(*shape, dtype=np.float32, name="input"):
    return InputSpec(name, shape, np.dtype(dtype))


def numbered(count, *shape, dtype=np.float32):
    """Inputs that tell their place in the file."""
    x = np.zeros((count, *shape), dtype)
    x[:] = np.arange(count).reshape(-1, *[1] * len(shape))
    return Dataset("numbers.npz", x)


def places(found):
    return [int(x.ravel()[0]) for batch in found.batches for x in batch["input"]]


class TestData:
    @pytest.mark.parametrize(
        ("count", "samples", "expected"),
        [
            (5, 5, [0, 1, 2, 3, 4]),
            (5, 99, [0, 1, 2, 3, 4]),
            (9, 5, [0, 2, 4, 6, 8]),
            (100, 2, [0, 99]),
            (100, 1, [0]),
            (1, 1, [0]),
        ],
    )
    def test_evenly_spread_over_the_file(self, count, samples, expected):
        found = from_data(numbered(count, 3), [spec(None, 3)], samples)
        assert places(found) == expected
        assert found.count == len(expected)
        assert found.real
        assert found.source == f"{len(expected)} input{'s' * (len(expected) > 1)} of numbers.npz"

    def test_many(self):
        found = from_data(numbered(1000, 2), [spec(None, 2)], 256)
        chosen = places(found)
        assert len(chosen) == len(set(chosen)) == 256
        assert (chosen[0], chosen[-1]) == (0, 999)
        assert set(np.diff(chosen)) <= {3, 4}
        assert [len(batch["input"]) for batch in found.batches] == [64] * 4

    @pytest.mark.parametrize(("fixed", "used"), [(1, 10), (4, 8), (5, 10)])
    def test_fixed_batches(self, fixed, used):
        found = from_data(numbered(10, 3), [spec(fixed, 3)], 10)
        assert {len(batch["input"]) for batch in found.batches} == {fixed}
        assert places(found) == list(range(used))
        assert found.count == used

    def test_nothing_is_left_out_where_any_batch_will_do(self):
        found = from_data(numbered(100, 3), [spec(None, 3)], 256)
        assert places(found) == list(range(100))

    def test_fewer_than_one_fixed_batch(self):
        with pytest.raises(DataError, match="8"):
            from_data(numbered(5, 3), [spec(8, 3)], 256)

    def test_normalised_once(self):
        pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
        data = Dataset("d", pixels, None, Normalisation(255.0, (0.5,), (0.25,)))
        (batch,) = from_data(data, [spec(None, 3, 2, 2)], 2).batches
        np.testing.assert_allclose(batch["input"], (pixels / 255 - 0.5) / 0.25, rtol=1e-5)
        assert batch["input"].dtype == np.float32

    def test_channels_last_and_half_precision(self):
        pixels = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
        steps = Normalisation(1.0, (1.0, 2.0, 3.0), (1.0,))
        data = Dataset("d", pixels, None, steps, axis=3)
        (batch,) = from_data(data, [spec(None, 2, 2, 3, dtype=np.float16)], 2).batches
        assert batch["input"].dtype == np.float16
        np.testing.assert_array_equal(batch["input"], pixels - np.float16([1, 2, 3]))

    def test_data_that_does_not_fit(self):
        with pytest.raises(DataError, match="x has shape"):
            from_data(numbered(4, 3), [spec(None, 5)], 4)
        with pytest.raises(
            DataError,
            match=r"no array named input, .* needs an array of the name of each input: input, b",
        ):
            from_data(numbered(4, 3), [spec(None, 3), spec(None, 3, name="b")], 4)
