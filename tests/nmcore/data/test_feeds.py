"""Inputs as a model is fed with them."""

from __future__ import annotations

import numpy as np
import pytest

from nmcore.data.dataset import Dataset
from nmcore.data.feeds import FeedList, batch_size, feeder
from nmcore.data.loading import in_memory
from nmcore.errors import DataError
from nmcore.plugins.inputs import InputSpec


def spec(name, *shape, dtype=np.int64, symbols=()):
    return InputSpec(name, shape, np.dtype(dtype), symbols)


IDS, MASK = spec("ids", None, None), spec("mask", None, None)


def test_large_inputs_make_small_batches():
    assert batch_size(Dataset("d", np.empty((2, 3, 224, 224), np.uint8))) == 6
    assert batch_size(Dataset("d", np.empty((2, 3000, 3000), np.uint8))) == 1
    assert batch_size(Dataset("d", np.empty(2))) == 256


class TestFeedList:
    def test_rows_of_all_feeds_become_entries(self):
        feeds = [{"ids": np.full((2, 5), k), "mask": np.ones((2, 5), int)} for k in range(3)]
        data = FeedList("d", feeds).for_model([IDS, MASK], 9)
        assert len(data) == 6
        assert data.arrays["ids"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]
        assert feeder(data, [IDS, MASK])(np.array([1, 4]))["ids"].shape == (2, 5)

    def test_a_batch_axis_may_be_left_out(self):
        data = FeedList("d", [{"ids": np.arange(4)}, {"ids": np.arange(4)}]).for_model([IDS], 9)
        assert data.arrays["ids"].tolist() == [[0, 1, 2, 3]] * 2

    def test_other_lengths_are_kept_apart(self):
        feeds = [{"ids": np.full((1, length), length)} for length in (3, 5, 3)]
        data = FeedList("d", feeds).for_model([IDS], 9)
        feed = feeder(data, [IDS])
        assert [feed(batch)["ids"].tolist() for batch in data.alike(9)] == [
            [[5] * 5],
            [[3] * 3] * 2,
        ]

    def test_classes_go_with_the_rows(self):
        feeds = [{"ids": np.ones((2, 3), int), "y": np.array([4, 5])}]
        feeds += [{"ids": np.ones((1, 2), int), "y": np.array([6])}]
        assert FeedList("d", feeds).for_model([IDS], 9).y.tolist() == [4, 5, 6]

    def test_states_without_a_common_batch_axis_stay_whole(self):
        sound = spec("sound", None, None, dtype=np.float32, symbols=("batch", "time"))
        state = spec("state", 2, None, 8, dtype=np.float32, symbols=(None, "batch", None))
        rate = spec("rate")
        feed = {"sound": np.ones((1, 16)), "state": np.ones((2, 1, 8)), "rate": np.array(16000)}
        data = FeedList("d", [feed | {"y": np.array([1])}] * 3).for_model([sound, state, rate], 9)
        assert (len(data), data.y.tolist()) == (3, [1, 1, 1])
        found = feeder(data, [sound, state, rate])
        assert found.apart
        assert {name: array.shape for name, array in found(np.array([1])).items()} == {
            "sound": (1, 16), "state": (2, 1, 8), "rate": (),
        }  # fmt: skip

    def test_feeds_that_differ_in_their_names(self):
        feeds = [{"ids": np.ones((1, 2), int)}, {"id": np.ones((1, 2), int)}]
        with pytest.raises(DataError, match=r"feed 1 \(from 0\) holds id, and the first holds ids"):
            FeedList("d", feeds).for_model([IDS], 9)


class Reader:
    """As ``onnxruntime.quantization.CalibrationDataReader`` wants it."""

    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


@pytest.mark.parametrize("form", [list, tuple, iter, Reader])
def test_every_form_that_feeds_come_in(form):
    feeds = [{"ids": [[k, k]]} for k in range(3)]
    assert in_memory(form(feeds)).for_model([IDS], 9).arrays["ids"].tolist() == [
        [0, 0], [1, 1], [2, 2],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        (iter(()), "data holds no feed"),
        (iter([3]), r"data: feed 0 \(from 0\) is of type int; a mapping is needed"),
        ([{"ids": [1]}, {"ids": "text"}], r"feed 1 \(from 0\): ids is of type str"),
        ([{"a": np.array([[np.nan]])}], r"feed 0 \(from 0\): a holds NaN or infinity"),
    ],
)
def test_what_cannot_be_fed(feeds, message):
    with pytest.raises(DataError, match=message):
        in_memory(feeds)
