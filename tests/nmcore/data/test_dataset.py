"""Inputs of a file beside the input that a model has."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.data.dataset import Dataset
from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError
from nmcore.plugins.inputs import InputSpec

IMAGES = np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2)


def spec(*shape, dtype=np.float32):
    return InputSpec("in", shape, np.dtype(dtype))


class TestFit:
    def test_dynamic_axes_take_anything(self):
        assert [*Dataset("d", IMAGES).bound([spec(None, 3, None, None)]).arrays] == ["in"]

    @pytest.mark.parametrize(
        "shape", [(None, 1, 2, 2), (None, 3, 2), (None, 2, 2, 3), (None, 12), ()]
    )
    def test_another_shape_names_both(self, shape):
        with pytest.raises(DataError, match=r"x has shape \(4, 3, 2, 2\); the model's input 'in' "):
            Dataset("d", IMAGES).bound([spec(*shape)])

    def test_floats_for_a_model_that_takes_bytes(self):
        wanted = [spec(None, 3, 2, 2, dtype=np.uint8)]
        assert Dataset("d", IMAGES).bound(wanted)
        with pytest.raises(DataError, match="x is float32; the model's input 'in' takes uint8"):
            Dataset("d", IMAGES.astype(np.float32)).bound(wanted)
        with pytest.raises(DataError, match="normalised x is float32"):
            Dataset("d", IMAGES, None, Normalisation(255.0)).bound(wanted)


class TestAlike:
    def test_entries_of_one_shape_are_batched_and_the_largest_come_first(self):
        texts = np.empty(5, object)
        for place, length in enumerate((2, 7, 2, 7, 7)):
            texts[place] = np.full(length, place)
        data = Dataset("d", {"ids": texts, "rate": np.arange(5)})
        assert [batch.tolist() for batch in data.alike(2)] == [[1, 3], [4], [0, 2]]
        assert data.take("ids", np.array([0, 2]), np.int32).tolist() == [[0, 0], [2, 2]]
        assert [batch.tolist() for batch in data.first(3).alike(9)] == [[1], [0, 2]]
