"""Which array feeds which input."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.data.binding import by_input
from nmcore.errors import DataError
from nmcore.plugins.inputs import InputSpec


def spec(name, *shape, dtype=np.int64):
    return InputSpec(name, shape, np.dtype(dtype))


IDS, MASK = np.ones((4, 7), np.int64), np.ones((4, 7), np.int64)
TWO = [spec("ids", None, None), spec("mask", None, None)]


@pytest.mark.parametrize("arrays", [{"ids": IDS}, {"x": IDS}, {"any": IDS}])
def test_one_input_takes_x_or_its_own_name_or_the_only_array(arrays):
    assert by_input("d", arrays, TWO[:1]) == {"ids": next(iter(arrays.values()))}


def test_the_own_name_comes_before_x():
    assert by_input("d", {"x": IDS[:2], "ids": IDS}, TWO[:1])["ids"] is IDS


def test_what_no_input_takes_is_left_out():
    assert [*by_input("d", {"mask": MASK, "ids": IDS, "kinds": np.ones(3)}, TWO)] == ["ids", "mask"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"ids": IDS, "masks": MASK},
            r"d holds no array named mask, int64 of shape \(n, \?\); it holds ids, masks; "
            r"the model needs an array of the name of each input: ids, mask$",
        ),
        ({"ids": IDS, "mask": MASK[:3]}, r"of one length.*ids \(4, 7\), mask \(3, 7\)"),
        ({"ids": IDS, "mask": MASK[0]}, r"mask has shape \(7,\); the model's input 'mask' needs"),
        ({"ids": IDS, "mask": MASK[:0]}, r"mask is int64 of shape \(0, 7\); arrays of one length"),
        ({"ids": IDS, "mask": np.int64(1)}, r"mask is int64 of shape \(\)"),
        ({"ids": IDS / 2, "mask": MASK}, "ids is float64; the model's input 'ids' takes int64"),
    ],
)
def test_what_is_missing_or_does_not_fit(arrays, message):
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    with pytest.raises(DataError, match=message):
        by_input("d", arrays, TWO)


def test_an_axis_too_many_is_a_mistake_with_one_input_alone():
    with pytest.raises(
        DataError, match=r"x has shape \(2, 4, 7\); the model's input 'ids' needs \(n, \?\)$"
    ):
        by_input("d", {"x": np.ones((2, 4, 7), int)}, TWO[:1])
    assert by_input("d", {"x": np.arange(3)}, [spec("rate")])["rate"].tolist() == [0, 1, 2]


def test_a_model_without_inputs():
    with pytest.raises(DataError, match="the model has no inputs"):
        by_input("d", {"x": IDS}, [])


class TestTypes:
    @pytest.mark.parametrize(
        ("array", "takes"),
        [
            (np.array([0, 2**31 - 1]), np.int32),
            (np.array([0, 255]), np.uint8),
            (np.array([0, 1], np.int32), bool),
            (np.array([0, 1], np.uint8), np.int64),
            (np.array([True, False]), np.int64),
            (np.array([0.5, 2.0]), np.float16),
            (np.array([3, 4]), np.float32),
        ],
    )
    def test_what_is_kept_is_cast(self, array, takes):
        assert by_input("d", {"x": array}, [spec("a", None, dtype=takes)])["a"] is array

    @pytest.mark.parametrize(
        ("array", "takes", "why"),
        [
            (np.array([0, 2**31]), np.int32, "numbers from 0 to 2147483648; .* takes int32"),
            (np.array([-1, 4]), np.uint8, "numbers from -1 to 4; .* takes uint8"),
            (np.array([0, 2]), bool, "numbers from 0 to 2; .* takes bool"),
            (np.array([0.0, 1.0]), np.int64, "x is float64; .* takes int64"),
            (np.array(["a"]), np.float32, "x is <U1; .* takes float32"),
        ],
    )
    def test_what_would_be_lost_is_told(self, array, takes, why):
        with pytest.raises(DataError, match=why):
            by_input("d", {"x": array}, [spec("a", None, dtype=takes)])
