"""Data files and random inputs."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.calibration.random_inputs import random_inputs, runnable_inputs
from nmcore.data.dataset import Dataset
from nmcore.data.loading import load
from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError, ModelError
from nmcore.plugins.protocols import InputSpec

FLOAT = np.dtype(np.float32)


def spec(*shape, dtype=np.float32):
    return InputSpec("in", shape, np.dtype(dtype))


@pytest.fixture
def saved(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "d.npz", **arrays)
        return tmp_path / "d.npz"

    return save


IMAGES = np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2)


class TestNormalisation:
    def test_one_mean_a_channel(self, saved):
        data = load(saved(x=IMAGES), scale=255, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
        mean = np.float32([0.1, 0.2, 0.3]).reshape(3, 1, 1)
        std = np.float32([0.5, 0.6, 0.7]).reshape(3, 1, 1)
        want = (IMAGES.astype(np.float32) / np.float32(255) - mean) / std
        assert np.array_equal(data.batch(0, 4), want)
        assert data.batch(1, 3).dtype == np.float32

    def test_channels_last(self, saved):
        images = np.moveaxis(IMAGES, 1, -1)
        first = load(saved(x=IMAGES), mean=[1, 2, 3]).batch(0, 4)
        last = load(saved(x=images), mean=[1, 2, 3]).batch(0, 4)
        assert np.array_equal(np.moveaxis(first, 1, -1), last)

    def test_bytes_stay_bytes_until_a_batch_is_taken(self, saved):
        data = load(saved(x=IMAGES), scale=255, mean=[0.5], std=[0.5])
        assert data.x.dtype == np.uint8

    def test_without_options_x_is_handed_over_as_it_is(self, saved):
        data = load(saved(x=IMAGES))
        assert np.array_equal(data.batch(0, 2, np.uint8), IMAGES[:2])
        assert np.array_equal(data.batch(0, 2), IMAGES[:2].astype(np.float32))

    def test_half_precision_is_rounded_once(self):
        data = Dataset("d", IMAGES, None, Normalisation(255.0, (0.3,), (0.2,)))
        assert np.array_equal(data.batch(0, 4, np.float16), data.batch(0, 4).astype(np.float16))

    def test_the_file_is_not_changed_by_a_batch(self, saved):
        data = load(saved(x=IMAGES.astype(np.float32)), mean=[1.0])
        assert np.array_equal(data.batch(0, 4), data.batch(0, 4))

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


class TestLoad:
    def test_x_and_y(self, saved):
        data = load(saved(x=IMAGES, y=np.array([1, 0, 1, 2], np.uint8)), samples=3)
        assert len(data) == 3
        assert data.y.tolist() == [1, 0, 1]
        assert data.y.dtype == np.int64

    def test_more_samples_than_there_are(self, saved):
        assert len(load(saved(x=IMAGES), samples=99)) == 4

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"images": IMAGES}, "holds no array named x"),
            ({"x": np.float32(1)}, r"shape \(\)"),
            ({"x": IMAGES[:0]}, r"shape \(0, 3, 2, 2\)"),
            ({"x": np.array(["a", "b"])}, "numbers of shape"),
            ({"x": IMAGES, "y": np.zeros(3, int)}, r"y has shape \(3,\).* each of the 4 inputs"),
            ({"x": IMAGES, "y": np.zeros((4, 10))}, r"y has shape \(4, 10\)"),
            ({"x": IMAGES, "y": np.zeros(4)}, "y is float64"),
        ],
    )
    def test_arrays_that_do_not_fit(self, saved, arrays, message):
        with pytest.raises(DataError, match=message):
            load(saved(**arrays))

    @pytest.mark.parametrize("content", [b"", b"some text", b"PK\x03\x04 damaged zip"])
    def test_other_files(self, tmp_path, content):
        path = tmp_path / "d.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"is no \.npz of plain arrays, or is damaged"):
            load(path)

    def test_a_damaged_member(self, saved):
        path = saved(x=np.zeros(10_000, np.uint8))
        content = bytearray(path.read_bytes())
        content[5000] ^= 255
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            load(path)

    def test_a_cut_file(self, saved):
        path = saved(x=IMAGES)
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(DataError, match="damaged"):
            load(path)

    def test_a_pickle_is_never_run(self, saved):
        path = saved(x=np.array([{"an": "object"}], dtype=object))
        with pytest.raises(DataError, match="plain arrays"):
            load(path)

    def test_a_single_array(self, tmp_path):
        np.save(tmp_path / "x.npy", IMAGES)
        with pytest.raises(DataError, match="plain arrays"):
            load(tmp_path / "x.npy")

    def test_no_file_and_a_directory(self, tmp_path):
        with pytest.raises(DataError, match="does not exist"):
            load(tmp_path / "none.npz")
        with pytest.raises(DataError, match="is a directory"):
            load(tmp_path)

    def test_no_samples(self, saved):
        with pytest.raises(DataError, match="samples is 0"):
            load(saved(x=IMAGES), samples=0)


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

    def test_text_is_not_made_up(self):
        with pytest.raises(DataError, match="no random one is made"):
            random_inputs([InputSpec("words", (None,), np.dtype(object))])

    def test_sizes_are_tried_until_one_runs(self):
        class Picky:
            inputs = (spec(None, 3, None, None),)

            def run(self, feeds, *, divisible=False):
                if feeds["in"].shape[-1] % 64:
                    raise ModelError("not a multiple of 64")
                return []

        assert runnable_inputs(Picky())["in"].shape == (1, 3, 256, 256)

    def test_none_runs(self):
        class Broken:
            inputs = (spec(None, 3),)

            def run(self, feeds, *, divisible=False):
                raise ModelError("m.onnx does not run: no")

        with pytest.raises(ModelError, match=r"m\.onnx does not run: no \(tried on random"):
            runnable_inputs(Broken())
