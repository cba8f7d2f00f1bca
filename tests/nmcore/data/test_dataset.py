"""Inputs of a file beside the input that a model has."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.data.dataset import Dataset
from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError
from nmcore.plugins.protocols import InputSpec

IMAGES = np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2)


def spec(*shape, dtype=np.float32):
    return InputSpec("in", shape, np.dtype(dtype))


class TestFit:
    def test_dynamic_axes_take_anything(self):
        assert Dataset("d", IMAGES).fit([spec(None, 3, None, None)]).name == "in"

    @pytest.mark.parametrize(
        "shape", [(None, 1, 2, 2), (None, 3, 2), (None, 2, 2, 3), (None, 12), ()]
    )
    def test_another_shape_names_both(self, shape):
        with pytest.raises(DataError, match=r"x has shape \(4, 3, 2, 2\); the model's input in ne"):
            Dataset("d", IMAGES).fit([spec(*shape)])

    def test_several_inputs(self):
        with pytest.raises(DataError, match=r"has 2 inputs \(in, in\)"):
            Dataset("d", IMAGES).fit([spec(None), spec(None)])

    def test_floats_for_a_model_that_takes_bytes(self):
        wanted = [spec(None, 3, 2, 2, dtype=np.uint8)]
        assert Dataset("d", IMAGES).fit(wanted)
        with pytest.raises(DataError, match="x is float32; the model's input in takes uint8"):
            Dataset("d", IMAGES.astype(np.float32)).fit(wanted)
        with pytest.raises(DataError, match="normalised x is float32"):
            Dataset("d", IMAGES, None, Normalisation(255.0)).fit(wanted)
