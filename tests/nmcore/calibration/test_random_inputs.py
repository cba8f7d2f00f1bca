"""Random inputs of shapes on which a model runs."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.calibration.random_inputs import random_inputs, random_inputs_for
from nmcore.errors import ModelError
from nmcore.plugins.inputs import InputSpec

FLOAT = np.dtype(np.float32)


def spec(*shape, dtype=np.float32):
    return InputSpec("in", shape, np.dtype(dtype))


class TestRandomInputs:
    def test_fixed_and_dynamic_axes(self):
        specs = [
            InputSpec("image", (None, 3, None, None), FLOAT),
            InputSpec("last", (1, None, None, 3), FLOAT),
            InputSpec("ids", (None, None), np.dtype(np.int64)),
            InputSpec("scalar", (), np.dtype(np.int64)),
        ]
        shapes = {name: x.shape for name, x in random_inputs(specs).items()}
        assert shapes == {
            "image": (1, 3, 224, 224), "last": (1, 224, 224, 3), "ids": (1, 32), "scalar": ()
        }  # fmt: skip

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint8", "bool"])
    def test_types(self, dtype):
        (x,) = random_inputs([spec(None, 50, dtype=dtype)]).values()
        assert x.dtype == dtype
        if dtype == "int32":
            assert 0 <= x.min() <= x.max() < 8
        if dtype == "bool":
            assert x.all()

    def test_the_seed_decides(self):
        one, same, other = (random_inputs([spec(None, 9)], seed=s)["in"] for s in (1, 1, 2))
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_text_is_text(self):
        (words,) = random_inputs([InputSpec("words", (None, 2), np.dtype(object))]).values()
        assert words.shape == (1, 2)
        assert all(isinstance(word, str) for word in words.ravel())

    def test_sizes_are_tried_until_one_runs(self):
        class Picky:
            inputs = (spec(None, 3, None, None),)

            def run(self, feeds, *, divisible=False):
                if feeds["in"].shape[-1] % 64:
                    raise ModelError("not a multiple of 64")
                return []

        assert random_inputs_for(Picky())["in"].shape == (1, 3, 256, 256)

    def test_none_runs(self):
        class Broken:
            inputs = (spec(None, 3),)

            def run(self, feeds, *, divisible=False):
                raise ModelError("m.onnx does not run: no")

        with pytest.raises(ModelError, match=r"m\.onnx does not run: no \(tried on random"):
            random_inputs_for(Broken())
