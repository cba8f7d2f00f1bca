"""The inputs whose outputs changed most, and their pictures."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import nmcore
from chain import Chain
from nmcore.data.dataset import Dataset
from nmcore.data.normalisation import normalisation
from nmcore.data.picture_form import PictureForm
from nmcore.evaluation.fidelity import fidelity
from nmcore.evaluation.metrics.registry import metrics_of
from nmcore.evaluation.thumbnails import SIDE, thumbnail
from nmcore.plugins.inputs import InputSpec

RNG = np.random.default_rng(0)


class Model:
    """A session that gives what was made up for each input, by the number that the input holds."""

    notice, provider, threads = "", "cpu", 1

    def __init__(self, specs, *outputs):
        self.inputs, self.outputs, self.output_names = specs, outputs, ()

    def run(self, feeds, *, divisible=False):
        places = next(iter(feeds.values())).reshape(len(next(iter(feeds.values()))), -1)[:, 0]
        return [output[places.astype(int)] for output in self.outputs]


def numbered(count, *shape, dtype=np.float32):
    return np.broadcast_to(
        np.arange(count, dtype=dtype).reshape(-1, *[1] * len(shape)), (count, *shape)
    )


def shown(data, before, after, metric=None):
    specs = [InputSpec("input", (None, *data.shape[1:]), data.dtype)]
    models = [Model(specs, *outputs) for outputs in (before, after)]
    asked = metrics_of(metric)
    return fidelity(*models, Dataset("d", {"input": data}), asked=asked, shown=3).examples


def test_changed_classes_come_first_and_then_what_deviates_most():
    scores = np.full((4, 5), 1.0)
    scores[:, 2] = 5
    after = scores.copy()
    after[1] *= 1.5  # deviates by half, and is of the same class
    after[3, 4] = 5.01
    found = shown(numbered(4, 6), [scores], [after])
    assert [each.place for each in found] == [3, 1]
    assert found[1].deviation == 50
    assert found[0].before == "class 2 (5), 0 (1), 1 (1)"
    assert found[0].after == "class 4 (5.01), 2 (5), 0 (1)"
    assert found[0].picture is None


def test_boxes_that_are_gone():
    boxes = np.array([[[0, 0, 9, 9, 0.9, 1], [50, 50, 99, 99, 0.8, 2.0]]] * 3)
    after = boxes.copy()
    after[1, 1, 4] = 0.1
    after[2, 0, 4] = 0.5
    found = shown(numbered(3, 3, 16, 16), [boxes], [after], "boxes:end-to-end")
    assert [each.place for each in found] == [1, 2]
    assert found[0].before == "2 boxes: class 1 (0.90), class 2 (0.80)"
    assert found[0].after == "1 box: class 1 (0.90), 1 of them the original's"
    assert found[0].picture.startswith("data:image/png;base64,")


def test_strings_are_told_by_ids():
    paths = np.zeros((3, 8), int)
    paths[:, 2], paths[:, 5] = 4, 7
    after = paths.copy()
    after[2, 5] = 0
    likely = [0.01 + 0.88 * np.eye(12)[each] for each in (paths, after)]
    (found,) = shown(numbered(3, 1, 32, 64), likely[:1], likely[1:])
    assert (found.place, found.before, found.after) == (2, "letters 4 7", "letters 4")


def test_masks_and_vectors():
    masks = np.zeros((2, 1, 16, 16))
    masks[:, :, :8] = 1
    after = masks.copy()
    after[1, :, :12] = 1
    (found,) = shown(numbered(2, 3, 16, 16), [masks], [after])
    assert (found.before, found.after) == ("50.0 % covered", "75.0 % covered")
    vectors = RNG.standard_normal((2, 5, 8))
    (found,) = shown(numbered(2, 6), [vectors], [vectors * [[[1]], [[-1]]]])
    assert (found.before, found.after) == ("", "cosine -1.0000")


def test_ids_of_a_text_are_told():
    ids = np.broadcast_to(np.arange(2)[:, None], (2, 40))
    one = np.ones((2, 3))
    (found,) = shown(ids, [one], [one * [[1], [2]]])
    assert found.given == f"input {' '.join(['1'] * 16)} ..."


def test_of_several_rows_of_ids_that_of_the_table_is_told():
    """Whatever the order: a mask is ones."""
    mask, ids = np.ones((2, 5), int), np.array([[1, 101, 2, 3, 0], [0, 101, 4, 5, 0]])
    specs = [InputSpec(name, (None, 5), np.dtype(np.int64)) for name in ("ids", "mask")]
    one = np.ones((2, 3))
    models = [Model(specs, outputs) for outputs in (one, one * [[2], [1]])]
    data = Dataset("d", {"mask": mask, "ids": ids})
    (found,) = fidelity(*models, data, asked=metrics_of(None), shown=3).examples
    assert found.given == "ids 0 101 4 5 0"


def test_nothing_changed_and_numbers_that_are_none():
    scores = RNG.random((3, 4))
    assert shown(numbered(3, 6), [scores], [scores]) == ()
    gone = scores.copy()
    gone[1] = np.nan
    (found, *_) = shown(numbered(3, 6), [scores], [gone])
    assert found.place == 1


def test_they_are_told_where_a_report_is_asked_for():
    model = Chain().conv(8).node("Relu").conv(4).node("GlobalAveragePool").node("Flatten").build()
    pictures = RNG.integers(0, 256, (20, 3, 8, 8), np.uint8)
    labelled = {"x": pictures, "y": np.arange(20) % 4}
    result = nmcore.compress(model, ratio=0.5, method="prune", data=labelled, scale=255)
    assert result.fidelity.examples == ()
    found = result.measured.fidelity.examples
    assert len(found) == 6
    assert all(each.given == f"class {each.place % 4}" for each in found)
    assert all(each.picture.startswith("data:image/png;base64,") for each in found)
    told = result.to_dict()["fidelity"]["examples"]
    assert [each["place"] for each in told] == [each.place for each in found]
    assert not any("picture" in each for each in told)


def opened(address):
    kind, _, content = address.partition(";base64,")
    picture = Image.open(BytesIO(b64decode(content)))
    return kind.removeprefix("data:image/"), picture


class TestThumbnails:
    RAMP = np.linspace(0, 1, 256).reshape(16, 16)

    @pytest.mark.parametrize(
        "entry",
        [RAMP, 2 * RAMP - 1, 255 * RAMP, 7 * RAMP - 3, np.rint(255 * RAMP).astype(np.uint8)],
    )
    @pytest.mark.parametrize("shape", [(1, 16, 16), (16, 16, 1), (1, 1, 16, 16)])
    def test_pixels_of_any_range_and_layout(self, entry, shape):
        kind, picture = opened(thumbnail(entry.reshape(shape)))
        assert (kind, picture.mode) == ("png", "L")
        assert np.array_equal(np.asarray(picture), np.rint(255 * self.RAMP))

    def test_large_ones_become_small(self):
        kind, picture = opened(thumbnail(RNG.random((3, 480, 640), np.float32)))
        assert (kind, picture.size) == ("jpeg", (SIDE, SIDE * 480 // 640))

    def test_the_order_of_colours_is_that_of_the_preprocessing(self):
        blue = np.zeros((3, 16, 16), np.uint8)
        blue[0] = 255
        bgr = normalisation(255, None, None, PictureForm(order="bgr"))
        assert opened(thumbnail(blue, bgr))[1].getpixel((0, 0)) == (0, 0, 255)
        assert opened(thumbnail(blue))[1].getpixel((0, 0)) == (255, 0, 0)

    @pytest.mark.parametrize("shape", [(4, 16, 16), (3, 4, 16), (9,), (2, 3, 16, 16)])
    def test_what_is_no_picture(self, shape):
        assert thumbnail(np.zeros(shape)) is None
