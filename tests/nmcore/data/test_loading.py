"""Data files."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.data.loading import check_finite, in_memory, load
from nmcore.errors import DataError
from nmcore.plugins.inputs import InputSpec

IMAGES = np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2)


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
            ({"a": IMAGES, "b": IMAGES}, "holds no array named in or x, .*; it holds a, b"),
            ({"images": IMAGES}, "holds no array named in or x, .*; it holds images$"),
            ({"images": IMAGES, "y": IMAGES[:, 0, 0, 0]}, "it holds images, y$"),
            ({"y": np.zeros(4, int)}, "holds no array named in or x, .*; it holds y$"),
            ({"y": np.zeros(4, int), "labels": np.zeros(4, int)}, "it holds labels, y$"),
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
            load(saved(**arrays)).for_model([InputSpec("in", (None,) * 4, np.dtype("f4"))], 9)

    def test_an_array_that_was_saved_without_a_name(self, tmp_path):
        np.savez(tmp_path / "d.npz", IMAGES)
        spec = InputSpec("in", (None,) * 4, np.dtype("f4"))
        bound = load(tmp_path / "d.npz").for_model([spec], 9)
        assert np.array_equal(bound.arrays["in"], IMAGES)

    @pytest.mark.parametrize("content", [b"", b"some text", b"PK\x03\x04 damaged zip"])
    def test_other_files(self, tmp_path, content):
        path = tmp_path / "d.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"is no \.npz of plain arrays, or is damaged"):
            load(path)

    def test_an_array_alone(self, tmp_path):
        np.save(tmp_path / "x.npy", IMAGES)
        with pytest.raises(DataError, match=r"holds an array alone; an \.npz is needed, as numpy"):
            load(tmp_path / "x.npy")

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

    def test_no_file_and_a_directory(self, tmp_path):
        with pytest.raises(DataError, match="does not exist"):
            load(tmp_path / "none.npz")
        with pytest.raises(DataError, match="is a directory"):
            load(tmp_path)

    def test_no_samples(self, saved):
        with pytest.raises(DataError, match="samples is 0"):
            load(saved(x=IMAGES), samples=0)


def test_nan_in_one_of_several_shapes():
    sounds = np.empty(4, object)
    sounds[:] = [np.zeros(4), np.array([np.nan, 1.0, np.inf]), np.zeros(2, int), np.zeros(0)]
    message = "d: sound holds NaN or infinity: 2 numbers, in 1 of 4 inputs, .* is number 1 "
    with pytest.raises(DataError, match=message):
        check_finite("d", "sound", sounds)
    check_finite("d", "sound", sounds[[0, 2, 3]])


def test_a_normalisation_of_one_of_several_arrays(saved):
    """Which array is meant is known with the model, which may have one input."""
    data = load(saved(input=np.full((2, 3), 4.0), extra=np.ones(2)), scale=2)
    spec = InputSpec("input", (None, 3), np.dtype(np.float32))
    found = data.for_model([spec], 2)
    assert found.take("input", slice(2), np.float32).tolist() == [[2.0] * 3] * 2
    other = InputSpec("extra", (None,), np.dtype(np.float32))
    with pytest.raises(DataError, match="scale, mean and std are for models with one input; this"):
        data.for_model([spec, other], 2)


def test_inputs_of_different_shapes_are_checked_for_numbers_too():
    rows = np.empty(2, object)
    rows[:] = [np.zeros(3), np.array([1.0, np.nan])]
    for name in ("x", "sound"):
        with pytest.raises(DataError, match=f"{name} holds NaN or infinity: 1 number, in 1 of 2"):
            in_memory({name: rows})
    rows[1] = np.zeros(2)
    assert len(in_memory({"x": rows})) == 2
