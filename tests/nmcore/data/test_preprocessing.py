"""Preprocessing by name, from a file, or as a mapping."""

from __future__ import annotations

import json

import pytest

from nmcore.data.preprocessing import PREPROCESSING, spelt_out
from nmcore.errors import ArgumentError, NmcoreError
from nmcore.options.options import CompressOptions


@pytest.mark.parametrize("name", PREPROCESSING)
def test_names_are_what_they_are_spelt_out_as(name):
    assert CompressOptions.checked(preprocess=name).normalisation == PREPROCESSING[name]
    assert CompressOptions.checked(preprocess=spelt_out(name)).normalisation == PREPROCESSING[name]


def test_a_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"scale": 2, "mean": [1, 2, 3], "order": "bgr", "pad": 3}))
    steps = CompressOptions.checked(preprocess=path).normalisation
    assert (steps.scale, steps.mean, steps.std) == (2.0, (1.0, 2.0, 3.0), (1.0,))
    assert (steps.form.order, steps.form.resize, steps.form.pad) == ("bgr", "crop", 3)


def test_numbers_beside_a_form():
    options = CompressOptions.checked(preprocess={"resize": "stretch"}, scale=2)
    assert (options.normalisation.scale, options.normalisation.form.resize) == (2.0, "stretch")
    alone = CompressOptions.checked(preprocess={"resize": "stretch"}).normalisation
    assert alone.scale == 255


KNOWN = "scale, mean, std, order, layout, resize, pad are"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON: Expecting property name"),
        ("[255]", "holds no object, as in {"),
        ('{"size": 4}', f"'size' is not known; {KNOWN}"),
        ('{"scale": "255"}', "scale is '255'; a number is needed"),
        ('{"scale": true}', "scale is True; a number is needed"),
        ('{"mean": []}', "mean is []; a number, or a list of one a channel, is needed"),
        ('{"std": [1, "2"]}', "std is [1, '2']; a number, or a list of one a channel, is needed"),
        ('{"order": "rgba"}', "order is 'rgba'; one of rgb, bgr is needed"),
        ('{"layout": "hw"}', "layout is 'hw'; one of nchw, nhwc is needed"),
        ('{"resize": 3}', "resize is 3; one of crop, stretch, letterbox, height is needed"),
        ('{"pad": 256}', "pad is 256; a number from 0 to 255 is needed"),
        ('{"pad": "black"}', "pad is 'black'; a number from 0 to 255 is needed"),
        ('{"std": 0}', "std is 0.0; it divides"),
        ('{"mean": [1, 2], "std": [1, 2, 3]}', "mean has 2 numbers and std has 3"),
    ],
)
def test_each_mistake_in_a_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(NmcoreError) as caught:
        CompressOptions.checked(preprocess=str(path)).normalisation.channels  # noqa: B018
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_name_and_no_file(tmp_path):
    with pytest.raises(
        ArgumentError, match=r"preprocess is 'vgg'; one of imagenet, clip, .* caffe"
    ):
        spelt_out("vgg")
    with pytest.raises(ArgumentError, match=r"none.json cannot be read: No such file"):
        spelt_out(tmp_path / "none.json")
