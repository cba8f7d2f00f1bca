"""How a picture becomes numbers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nmcore.data.images import Pictures
from nmcore.data.picture_form import PictureForm
from nmcore.data.preprocessing import PREPROCESSING
from nmcore.errors import DataError
from nmcore.plugins.inputs import InputSpec

FLOAT = np.dtype(np.float32)
WIDE = Image.new("RGB", (8, 4), (250, 100, 10))


def rows(form, height, width):
    """The red of the first column of the result, and of its first row."""
    pixels = form(WIDE, height, width)
    assert pixels.shape == (height, width, 3)
    return pixels[:, 0, 0].tolist(), pixels[0, :, 0].tolist()


@pytest.mark.parametrize(
    ("form", "column", "row"),
    [
        (PictureForm(), [250] * 4, [250] * 4),
        (PictureForm(resize="stretch"), [250] * 4, [250] * 4),
        (PictureForm(resize="letterbox", pad=7), [7, 250, 250, 7], [7] * 4),
        (PictureForm(resize="height", pad=7), [250] * 4, [250] * 4),
    ],
)
def test_a_wide_picture_in_a_square(form, column, row):
    assert rows(form, 4, 4) == (column, row)


def test_the_height_is_kept_and_the_right_padded():
    _, row = rows(PictureForm(resize="height", pad=7), 2, 6)
    assert row == [250] * 4 + [7] * 2


def test_a_pad_that_is_no_whole_number():
    pixels = PictureForm(resize="height", pad=127.5)(WIDE, 4, 10)
    assert (pixels.dtype, pixels[0, -1, 0]) == (FLOAT, 127.5)


def test_the_order_of_colours():
    assert PictureForm(order="bgr")(WIDE, 4, 4)[0, 0].tolist() == [10, 100, 250]
    assert PictureForm(order="bgr")(WIDE.convert("L"), 4, 4).shape == (4, 4, 1)


@pytest.fixture
def folder(tmp_path):
    WIDE.save(tmp_path / "a.png")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("caffe", np.array([10, 100, 250]) - [103.939, 116.779, 123.68]),
        (
            "imagenet",
            (np.array([250, 100, 10]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        ),
        ("yolo", np.array([114, 114, 114]) / 255),
        ("paddle", np.array([10, 100, 250]) / 127.5 - 1),
        ("minus-one", np.array([250, 100, 10]) / 127.5 - 1),
    ],
)
def test_what_the_network_reads(folder, name, expected):
    spec = InputSpec("x", (None, 3, 4, 4), FLOAT)
    data = Pictures(folder, PREPROCESSING[name]).for_model([spec], 1)
    assert np.allclose(data.take("x", slice(1), FLOAT)[0, :, 0, 0], expected, atol=1e-5)


def test_padding_of_text_is_zero(folder):
    spec = InputSpec("x", (None, 3, 4, 12), FLOAT)
    data = Pictures(folder, PREPROCESSING["paddle"]).for_model([spec], 1)
    assert not data.take("x", slice(1), FLOAT)[0, :, :, 8:].any()


def test_the_layout_that_shapes_do_not_tell(folder):
    spec = InputSpec("x", (None, None, 6, None), FLOAT)
    with pytest.raises(DataError, match=r"pictures does not fit the model's input 'x' \(n, \?, 6"):
        Pictures(folder).for_model([spec], 1)
    steps = PREPROCESSING["unit"]
    stated = type(steps)(255.0, form=PictureForm(layout="nchw"))
    assert Pictures(folder, stated).for_model([spec], 1).arrays["x"].shape == (1, 3, 6, 224)
    other = Pictures(folder, type(steps)(form=PictureForm(layout="nhwc")))
    with pytest.raises(DataError, match="pictures of layout nhwc does not fit"):
        other.for_model([InputSpec("x", (None, 3, 6, 8), FLOAT)], 1)


def test_a_guessed_size_is_told(folder, told):
    spec = InputSpec("x", (None, 3, None, 96), FLOAT)
    Pictures(folder).for_model([spec], 1)
    assert "pictures become 224 x 96, a guess: the model leaves sizes open (--input-shape)" in told
