"""What few pictures are supplemented by, and which inputs are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nmcore
from chain import Chain
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.calibration.supplement import JUDGES, supplemented
from nmcore.data.dataset import Dataset


def pictures(count, channels=3, *, kind=np.float32, seed=0):
    """Dark in the first channel, bright in the last, of 16 x 20 pixels."""
    rng = np.random.default_rng(seed)
    shades = np.linspace(50, 200, channels)[:, None, None]
    return (shades + rng.uniform(-50, 55, (count, channels, 16, 20))).astype(kind)


def given(*batches, **more):
    return CalibrationSet([{"x": x} for x in batches], sum(map(len, batches)), True, "here", **more)


def shown(found):
    return np.concatenate([feeds["x"] for feeds in found.batches])


def test_the_data_come_first_and_are_as_they_were():
    x = pictures(10)
    found = supplemented(given(x[:6], x[6:]), 30)
    assert [len(feeds["x"]) for feeds in found.batches] == [6, 4, 6, 4, 6, 4]
    np.testing.assert_array_equal(shown(found)[:10], x)
    assert (found.count, found.synthetic, found.synthetic_share) == (30, 10, 1 / 3)
    assert found.source == "here, supplemented by 10 crops of them and 10 of other photographs"


def test_a_crop_of_each_picture_before_any_photograph():
    x = pictures(8) + 1000 * np.arange(8, dtype=np.float32)[:, None, None, None]
    found = supplemented(given(x), 13)
    assert (shown(found)[8:].mean(axis=(1, 2, 3)) // 1000).tolist() == [0, 1, 2, 3, 4]
    assert (found.synthetic, found.source) == (0, "here, supplemented by 5 crops of them")


def test_crops_are_parts_that_are_not_mirrored():
    """Of a slope from left to right each is a gentler one."""
    x = np.tile(np.arange(20, dtype=np.float32), (9, 3, 16, 1))
    slopes = np.diff(shown(supplemented(given(x), 18))[9:, 0, 8, 4:16]).mean(axis=-1)
    assert ((slopes > 0.4) & (slopes < 1.001)).all()
    assert len(np.unique(slopes.round(4))) == 9


def test_photographs_have_the_shade_contrast_and_range_of_the_data():
    x = pictures(4)
    found = supplemented(given(x), 200)
    made = shown(found)[8:]
    assert len(made) == found.synthetic == 192
    np.testing.assert_allclose(made.mean((0, 2, 3)), x.mean((0, 2, 3)), rtol=0.05)
    np.testing.assert_allclose(made.std((0, 2, 3)), x.std((0, 2, 3)), rtol=0.15)
    assert (made >= x.min((0, 2, 3), keepdims=True)).all()
    assert (made <= x.max((0, 2, 3), keepdims=True)).all()


def test_colours_in_the_last_axis():
    first = supplemented(given(pictures(5)), 20)
    last = supplemented(given(np.moveaxis(pictures(5), 1, -1)), 20)
    np.testing.assert_array_equal(np.moveaxis(shown(last), -1, 1), shown(first))


def test_bytes_stay_bytes():
    found = supplemented(given(pictures(5, kind=np.uint8)), 20)
    assert {feeds["x"].dtype for feeds in found.batches} == {np.dtype(np.uint8)}
    whole = shown(supplemented(given(pictures(5, kind=np.uint8).astype(np.float32)), 20))
    assert np.abs(shown(found) - whole).max() <= 0.5


def test_a_channel_that_never_changes_stays_so():
    x = pictures(5)
    x[:, 1] = 7
    np.testing.assert_allclose(shown(supplemented(given(x), 20))[:, 1], 7, atol=1e-4)


def test_whole_batches_alone_where_the_model_fixes_them():
    x = pictures(8)
    found = supplemented(given(x[:4], x[4:], any_length=False), 30)
    assert [len(feeds["x"]) for feeds in found.batches] == [4] * 7
    assert (found.count, found.synthetic) == (28, 12)


def test_photographs_judge_where_nothing_is_held_back():
    judges = supplemented(given(pictures(10), any_length=True), 30)
    assert sum(len(feeds["x"]) for feeds in judges.unseen) == JUDGES
    assert judges.judged_by == "synthetic input"
    held = Dataset("held", pictures(3, seed=1))
    own = given(pictures(10), unseen=[{"x": held.arrays["x"]}], held=held)
    assert supplemented(own, 30).unseen is own.unseen
    assert supplemented(own, 30).judged_by == "input"


@pytest.mark.parametrize(
    "left",
    [
        given(pictures(30)),
        given(np.ones((4, 64), np.float32)),
        given(np.ones((4, 16, 64), np.float32)),
        given(pictures(4, 1)),
        given(pictures(4)[:, :, :8]),
        given(np.floor(pictures(4) / 1000)),
        given(pictures(4), pictures(4)[..., :16]),
        given(pictures(1), apart=True),
        replace(given(), batches=[{"x": pictures(4), "y": pictures(4)}], count=4),
    ],
    ids=["enough", "vectors", "rows", "grey", "low", "flat", "sizes", "apart", "two"],
)
def test_what_is_left_as_it_is(left):
    assert supplemented(left, 30) is left


def network(size):
    return Chain(("n", 3, size, size)).conv(16).node("Relu").conv(8).node("Relu").conv(4).build()


def test_few_pictures_are_said_to_be_supplemented():
    few = nmcore.compress(network(16), ratio=0.25, data=pictures(20)[..., :16])
    assert any("supplemented by 20 crops of them and 216 of other" in each for each in few.notes)
    assert not few.cautions
    asked = nmcore.compress(network(16), ratio=0.25, data=pictures(20)[..., :16], samples=20)
    assert not any("supplemented" in each for each in asked.notes)
    assert any("20 inputs" in each for each in asked.cautions)
    enough = nmcore.compress(network(16), ratio=0.25, data=pictures(256)[..., :16])
    assert not any("supplemented" in each for each in enough.notes)


def test_few_pictures_of_eight_pixels_are_told():
    few = nmcore.compress(network(8), ratio=0.25, data=pictures(20)[..., :8, :8])
    assert any("20 inputs" in each for each in few.cautions)
