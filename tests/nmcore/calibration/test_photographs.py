"""The photographs in the package, and what is cut out of them."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from nmcore.calibration import photographs
from nmcore.calibration.photographs import crops, names_of_photographs

FOLDER = files("nmcore.calibration") / "photos"


class TestPhotographs:
    def test_each_has_a_source_and_a_licence(self):
        rows = re.findall(
            r"^\| `([^`]+)` \|(.+)\|$", (FOLDER / "README.md").read_text("utf8"), re.M
        )
        assert [name for name, _ in rows] == names_of_photographs()
        assert len(rows) >= 24
        for name, row in rows:
            cells = [cell.strip() for cell in row.split("|")]
            assert len(cells) == 4, name
            assert all(cells), name
            assert cells[-1] in ("CC0", "public domain"), name

    def test_they_are_small_in_all_and_large_enough_each(self):
        assert sum(len((FOLDER / name).read_bytes()) for name in names_of_photographs()) < 3e6
        for name in names_of_photographs():
            with (FOLDER / name).open("rb") as file, Image.open(file) as photograph:
                assert photograph.format == "JPEG"
                assert min(photograph.size) >= 150, name
                assert max(photograph.size) <= 720, name


class TestCrops:
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("size", [(28, 28), (64, 17), (9, 400)])
    def test_shapes_and_values(self, channels, size):
        x = crops(5, channels, size)
        assert x.shape == (5, channels, *size)
        assert x.dtype == np.float32
        assert 0 <= x.min() < 0.4
        assert 0.6 < x.max() <= 1

    def test_the_seed_decides(self):
        one, same, other = (crops(6, 3, (16, 16), seed=seed) for seed in (1, 1, 2))
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_some_are_grey_and_most_are_not(self):
        x = crops(200, 3, (8, 8))
        grey = (x[:, 0] == x[:, 1]).all(axis=(1, 2)) & (x[:, 1] == x[:, 2]).all(axis=(1, 2))
        assert 0.1 < grey.mean() < 0.5

    def test_they_are_as_bright_as_their_photographs(self):
        """Whether crops of all of them are read right: their mean is that of the photographs."""
        wanted = []
        for name in names_of_photographs():
            with (FOLDER / name).open("rb") as file, Image.open(file) as photograph:
                wanted.append(np.asarray(photograph.convert("L")).mean() / 255)
        x = np.concatenate([crops(900, 3, (16, 16)), crops(225, 3, (16, 16), unseen=True)])
        grey = np.tensordot([0.299, 0.587, 0.114], x, axes=([0], [1]))
        assert abs(grey.mean() - np.mean(wanted)) < 0.02

    def test_those_in_colour_vary_in_it_and_grey_ones_do_not(self, monkeypatch):
        brick = Image.new("RGB", (60, 60), (150, 100, 80))
        monkeypatch.setattr(photographs, "_photograph", lambda name: brick)
        red, _, blue = crops(100, 3, (4, 4)).mean(axis=(2, 3)).T
        brightness, colour = red + blue, (red - blue) / (red + blue)
        assert brightness.max() > 1.5 * brightness.min()
        coloured = colour[colour > 0]
        assert coloured.max() > 3 * coloured.min()
        grey = crops(100, 1, (4, 4))
        same = np.float32(brick.convert("L").getpixel((0, 0)) / 255)
        assert set(np.unique(grey)) == {0, same, 1}

    def test_half_of_the_grey_ones_are_objects_on_plain_ground(self):
        corners = crops(300, 1, (28, 28))[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
        for ground in (0, 1):
            assert 0.15 < (corners == ground).all(axis=1).mean() < 0.35
        colours = crops(300, 3, (28, 28))[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert (colours == 1).all(axis=(1, 2)).mean() < 0.1

    def test_those_kept_apart_are_never_shown(self, monkeypatch):
        cut = []

        def recorded(name):
            cut.append(name)
            return Image.new("RGB", (300, 200))

        monkeypatch.setattr(photographs, "_photograph", recorded)
        crops(100, 3, (8, 8))
        shown = set(cut)
        cut.clear()
        crops(20, 3, (8, 8), seed=1, unseen=True)
        assert shown.isdisjoint(cut)
        assert sorted(shown.union(cut)) == names_of_photographs()
        assert len(shown) > 3 * len(set(cut))
