"""What few photographs are supplemented by, and which inputs are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

import nmcore
from chain import Chain
from nmcore.calibration import collect, photographs
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.calibration.supplement import JUDGES, supplemented
from nmcore.data.dataset import Dataset

SHADES = np.float32([30, 90, 150])[:, None, None]


def pictures(count, *, kind=np.float32, size=(16, 20)):
    """Photographs from 0 to 105, each channel brighter than the one before."""
    x = 50 * photographs.crops(count, 3, size, seed=5) + SHADES
    return x.astype(kind)


def drawn(count):
    """Black bars on white, in three channels that differ."""
    found = []
    for number in range(count):
        picture = Image.new("RGB", (40, 40), "white")
        draw = ImageDraw.Draw(picture)
        draw.rectangle((5 + number, 8, 20 + number, 30), fill="black")
        draw.line((0, number, 39, 30), fill=(40, 0, 90), width=2)
        found.append(np.moveaxis(np.asarray(picture, np.float32), -1, 0))
    return np.stack(found)


def given(*batches, **more):
    return CalibrationSet([{"x": x} for x in batches], sum(map(len, batches)), True, "here", **more)


def shown(found):
    return np.concatenate([feeds["x"] for feeds in found.batches])


def test_the_data_come_first_and_are_as_they_were():
    x = pictures(10)
    found = supplemented(given(x[:6], x[6:]), 30)
    assert [len(feeds["x"]) for feeds in found.batches] == [6, 4, 10, 10]
    np.testing.assert_array_equal(shown(found)[:10], x)
    assert (found.count, found.synthetic, found.synthetic_share) == (30, 10, 1 / 3)
    assert found.source == "here, supplemented by 10 crops of them and 10 of other photographs"


def test_a_crop_of_each_picture_before_any_photograph(monkeypatch):
    x = pictures(8)
    monkeypatch.setattr(photographs, "random_box", lambda _rng, whole, _size: (0, 0, *whole))
    found = supplemented(given(x), 13)
    np.testing.assert_allclose(shown(found)[8:], x[:5], atol=1e-4)
    assert (found.synthetic, found.source) == (0, "here, supplemented by 5 crops of them")
    assert supplemented(given(x), 9).source == "here, supplemented by 1 crop of them"


def test_crops_are_parts_that_are_not_mirrored():
    """Of a slope from left to right each is a gentler one."""
    x = pictures(9) / 1000 + np.arange(20, dtype=np.float32)
    x += SHADES * np.linspace(-1, 1, 16, dtype=np.float32)[:, None] / 30
    slopes = np.diff(shown(supplemented(given(x), 18))[9:, 0, 8, 4:16]).mean(axis=-1)
    assert ((slopes > 0.4) & (slopes < 1.05)).all()
    assert len(np.unique(slopes.round(3))) > 5


def test_photographs_have_the_shade_contrast_and_range_of_the_data():
    x = pictures(4)
    found = supplemented(given(x), 200)
    made = shown(found)[8:]
    assert len(made) == found.synthetic == 192
    np.testing.assert_allclose(made.mean((0, 2, 3)), x.mean((0, 2, 3)), rtol=0.05)
    np.testing.assert_allclose(made.std((0, 2, 3)), x.std((0, 2, 3)), rtol=0.15)
    assert (made >= x.min((0, 2, 3), keepdims=True)).all()
    assert (made <= x.max((0, 2, 3), keepdims=True)).all()


def test_blue_first():
    """The same photographs, with colours in the other order."""
    x = pictures(4)
    first = shown(supplemented(given(x), 40))
    last = shown(supplemented(given(x[:, ::-1]), 40, bgr=True))
    np.testing.assert_allclose(last[8:, ::-1], first[8:], atol=1e-3)


def test_colours_in_the_last_axis():
    first = supplemented(given(pictures(5)), 20)
    last = supplemented(given(np.moveaxis(pictures(5), 1, -1)), 20)
    np.testing.assert_array_equal(np.moveaxis(shown(last), -1, 1), shown(first))


def test_bytes_stay_bytes():
    found = supplemented(given(pictures(5, kind=np.uint8)), 20)
    assert {feeds["x"].dtype for feeds in found.batches} == {np.dtype(np.uint8)}
    whole = shown(supplemented(given(pictures(5, kind=np.uint8).astype(np.float32)), 20))
    assert np.abs(shown(found) - whole).max() <= 0.5


def test_whole_batches_alone_where_the_model_fixes_them():
    x = pictures(8)
    found = supplemented(given(x[:4], x[4:], any_length=False), 30)
    assert [len(feeds["x"]) for feeds in found.batches] == [4] * 7
    assert (found.count, found.synthetic) == (28, 12)
    enough = given(x[:4], x[4:], any_length=False)
    assert supplemented(enough, 11) is enough
    judges = supplemented(given(pictures(70), any_length=False), 140)
    assert [len(feeds["x"]) for feeds in judges.unseen] == [70]


def test_photographs_judge_where_nothing_is_held_back(monkeypatch):
    original, asked = photographs.crops, []

    def crops(count, *others, unseen=False, **more):
        asked.append((count, unseen))
        return original(count, *others, unseen=unseen, **more)

    monkeypatch.setattr(photographs, "crops", crops)
    x = pictures(13)
    asked.clear()
    judges = supplemented(given(x[:10]), 30)
    assert asked == [(10, False), (JUDGES, True)]
    assert sum(len(feeds["x"]) for feeds in judges.unseen) == JUDGES
    assert judges.judged_by == "synthetic input"
    assert supplemented(given(x[:10]), 15).judged_by == "synthetic input"
    held = Dataset("held", x[10:])
    own = given(x[:10], unseen=[{"x": held.arrays["x"]}], held=held)
    assert supplemented(own, 30).unseen is own.unseen
    assert supplemented(own, 30).judged_by == own.judged_by == "input"


def grey(count):
    """Of one tone, as X-rays are, in three channels of other units."""
    return pictures(count)[:, :1] * np.float32([1, 2, 3])[:, None, None]


@pytest.mark.parametrize(
    "left",
    [
        given(pictures(30)),
        given(np.ones((4, 64), np.float32)),
        given(np.ones((4, 16, 64), np.float32)),
        given(pictures(4)[:, :1]),
        given(pictures(4)[:, :, :8]),
        given(grey(4)),
        given(drawn(4)),
        given(np.random.default_rng(0).standard_normal((4, 3, 16, 16)).astype(np.float32)),
        given(np.ones((4, 3, 16, 16), np.float32)),
        given(pictures(4), pictures(4)[..., :16]),
        given(pictures(1), apart=True),
        replace(given(), batches=[{"x": pictures(4), "y": pictures(4)}], count=4),
    ],
    ids=[
        *("enough", "vectors", "rows", "channel", "low", "grey", "drawn", "noise", "constant"),
        *("sizes", "apart", "two"),
    ],
)
def test_what_is_left_as_it_is(left):
    assert supplemented(left, 30) is left


def network(size):
    return Chain(("n", 3, size, size)).conv(16).node("Relu").conv(8).node("Relu").conv(4).build()


def told(**options):
    """What a user reads of the inputs, and what is warned of."""
    result = nmcore.compress(network(16), ratio=0.25, **options)
    (inputs,) = (each for each in result.notes if each.startswith("measured on "))
    return inputs, [*result.cautions]


def test_what_is_told_of_few_photographs(monkeypatch):
    x = pictures(256, size=(16, 16))
    assert told(data=x[:20]) == (
        "measured on 20 inputs of data, supplemented by 20 crops of them and 216 of other "
        "photographs",
        ["all 20 inputs were fitted to, so that what is told of them is too good: judge on others"],
    )
    assert told(data=x[:53]) == (
        "measured on 36 inputs of data, supplemented by 36 crops of them and 167 of other "
        "photographs, and 17 more to judge by",
        [],
    )
    assert "supplemented" not in told(data=x)[0]
    assert told(data=x[:1])[1][0].startswith("the one input was fitted to, ")
    inputs, (few,) = told(data=x[:20], samples=20)
    assert "supplemented" not in inputs
    assert few.startswith("measured on 20 inputs, ")
    with monkeypatch.context() as less:
        less.setattr(collect, "_HELD", 30 * x[0].size)  # numbers in memory
        assert told(data=x[:20])[0].endswith("supplemented by 10 crops of them")
    monkeypatch.setattr(collect, "_PASS", 0)
    monkeypatch.setattr(collect, "_MORE", 0)
    assert "supplemented" not in told(data=x[:20])[0]


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_order_of_colours_is_that_of_the_preprocessing(monkeypatch, order, tmp_path):
    seen = []

    def spy(calibration, wanted, *, bgr):
        seen.append(bgr)
        return supplemented(calibration, wanted, bgr=bgr)

    monkeypatch.setattr(collect, "supplemented", spy)
    for number, picture in enumerate(pictures(5, kind=np.uint8, size=(16, 16))):
        Image.fromarray(np.moveaxis(picture, 0, -1)).save(tmp_path / f"{number}.png")
    nmcore.compress(network(16), ratio=0.25, data=tmp_path, preprocess={"order": order})
    assert seen == [order == "bgr"]
