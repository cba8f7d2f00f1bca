"""Folders of pictures, and the classes that their subfolders are."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from nmcore.cli import cli
from nmcore.data.images import Pictures
from nmcore.errors import DataError
from nmcore.evaluation.evaluate import evaluate
from nmcore.plugins.protocols import InputSpec

PIL = pytest.importorskip("PIL.Image")
SPEC = InputSpec("in", (None, 3, 8, 8), np.dtype(np.float32))


@pytest.fixture
def folder(tmp_path):
    """Make a folder with pictures at the given places."""

    def make(*places):
        rng = np.random.default_rng(0)
        for place in places:
            path = tmp_path / "pictures" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
        return tmp_path / "pictures"

    return make


@pytest.mark.parametrize(
    ("places", "classes", "named"),
    [
        (["10/a.png", "2/b.png", "2/c.png"], [10, 2, 2], None),
        (["cat/a.png", "dog/b.png", "dog/deep/c.png"], [0, 1, 1], 2),
        (["cat/a.png", "b.png"], None, None),
        (["all/a.png", "all/b.png"], None, None),
        (["a.png", "b.png"], None, None),
    ],
)
def test_classes_by_subfolder(folder, places, classes, named):
    found = Pictures(folder(*places)).for_model([SPEC], 9)
    assert (None if found.y is None else found.y.tolist()) == classes
    assert found.named_classes == named


def test_some_of_them_keep_their_classes(folder):
    pictures = Pictures(folder(*(f"{k}/a.png" for k in range(9))))
    assert pictures.for_model([SPEC], 3).y.tolist() == [0, 4, 8]


def test_a_list_of_files_has_none(folder):
    root = folder("0/a.png", "1/b.png")
    assert Pictures((root / "0/a.png", root / "1/b.png")).for_model([SPEC], 9).y is None


@pytest.mark.parametrize("count", [0, 2])
def test_models_with_one_input(folder, count):
    with pytest.raises(
        DataError, match=f"pictures feed models with one input; the model has {count}"
    ):
        Pictures(folder("a.png")).for_model([SPEC] * count, 1)


def test_accuracy_where_the_classes_are_the_model_s(model, folder):
    """The model has ten."""
    (found,) = evaluate(model, folder(*(f"{k}/a.png" for k in range(4))), runs=1)
    assert found.top1 is not None


@pytest.mark.parametrize(("count", "told"), [(10, False), (3, True)])
def test_names_are_classes_where_there_are_as_many(model, folder, count, told):
    places = [f"kind{k}/a.png" for k in range(count)]
    lines = []
    _, found = evaluate([model] * 2, folder(*places), runs=1, notify=lines.append)
    assert (found.top1 is None, found.agreement) == (told, 100.0)
    words = f"no accuracy: {folder()} names 3 classes, and the model has others"
    assert [line.startswith(words) for line in lines if "names" in line] == [True] * told


def test_the_program_takes_a_folder(model, folder):
    args = ["evaluate", model, "--data", folder("0/a.png", "3/b.png"), "--json", "-q"]
    result = CliRunner().invoke(cli, list(map(str, args)), prog_name="nmcore")
    (found,) = json.loads(result.stdout)
    assert found["n"] == 2
    assert found["metrics"]["top1"] == found["top1"] is not None
