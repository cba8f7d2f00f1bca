"""The program that renders lines of text."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PROGRAM = Path(__file__).parents[2] / "examples/text_images/render.py"


@pytest.fixture
def render(monkeypatch):
    """Run the program."""
    spec = spec_from_file_location("render", PROGRAM)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*args):
        monkeypatch.setattr("sys.argv", ["render.py", *map(str, args)])
        module.main()

    return run


def test_each_picture_shows_the_text_of_its_name(render, tmp_path):
    render(tmp_path / "a", "--count", 6, "--alphabet", "AB", "--lengths", 3, 4)
    render(tmp_path / "b", "--count", 6, "--alphabet", "AB", "--lengths", 3, 4)
    paths, again = (sorted((tmp_path / name).iterdir()) for name in "ab")
    assert [path.name for path in paths] == [path.name for path in again]
    for path, other in zip(paths, again, strict=True):
        number, text = path.stem.split("-")
        assert (int(number), set(text) <= {"A", "B"}) == (paths.index(path), True)
        assert 3 <= len(text) <= 4
        pixels = np.asarray(Image.open(path), float)
        assert pixels.shape[1] > pixels.shape[0]
        assert np.array_equal(pixels, np.asarray(Image.open(other)))
        assert pixels.std() > 10


def test_another_seed_makes_other_texts(render, tmp_path):
    for seed in (0, 1):
        render(tmp_path / str(seed), "--count", 4, "--seed", seed)
    first, second = ({path.name for path in (tmp_path / seed).iterdir()} for seed in "01")
    assert not first & second
