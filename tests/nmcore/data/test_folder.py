"""The classes of the files of a folder, as a table says."""

from __future__ import annotations

import pytest
from PIL import Image

from nmcore.data.images import Pictures
from nmcore.data.loading import open_data, open_folder
from nmcore.errors import DataError


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    for name in ("a.png", "b/c.png", "b/d.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)
    return root


def classes(folder, labels=None):
    pictures = Pictures(folder, labels=labels)
    y, named = pictures.classes(pictures.files())
    return None if y is None else y.tolist(), named


def test_a_table_in_the_folder(folder):
    assert classes(folder) == (None, None)
    (folder / "labels.csv").write_text("file,label\na.png,7\nb/c.png,10\nb/d.png,7\nother.png,3\n")
    assert classes(folder) == ([7, 10, 7], None)


def test_a_header_may_have_other_words(folder):
    (folder / "labels.csv").write_text("name,class\na.png,7\nb/c.png,10\nb/d.png,7\n")
    assert classes(folder) == ([7, 10, 7], None)


def test_names_are_numbered_in_their_order(folder, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("\ufeffa.png, dog\n./b/c.png, cat\nb/d.png, dog\n", encoding="utf-8")
    assert classes(folder, table) == ([1, 0, 1], 2)


def test_a_table_is_believed_before_subfolders(folder, tmp_path):
    (folder / "a.png").rename(folder / "b" / "a.png")
    (folder / "c").mkdir()
    (folder / "b" / "c.png").rename(folder / "c" / "c.png")
    assert classes(folder)[0] == [0, 0, 1]
    table = tmp_path / "mine.csv"
    table.write_text("b/a.png,5\nb/d.png,6\nc/c.png,7\n")
    assert classes(folder, table)[0] == [5, 6, 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no line of the form file,label"),
        ("file,label\n", "holds no line of the form file,label"),
        ("a.png\n", "'a.png' is no line of the form file,label"),
        ("a.png,1,2\n", "'a.png,1,2' is no line of the form file,label"),
        ("a.png,\n", "'a.png,' is no line of the form file,label"),
        ("a.png,1\na.png,2\n", "gives a.png two labels, 1 and 2"),
        ("a.png,1\nb/c.png,2\n", "has no label for 1 of 3 pictures, b/d.png first"),
        (b"a.png,\xff\n", "is no table in UTF-8"),
        (None, "cannot be read: No such file"),
    ],
)
def test_each_mistake_in_a_table_is_one_line(folder, tmp_path, text, message):
    table = tmp_path / "mine.csv"
    if text is not None:
        table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        classes(folder, table)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_without_a_folder(tmp_path):
    for data in (None, [[1.0]], tmp_path / "x.npz"):
        with pytest.raises(
            DataError, match=r"labels are of the files in a folder(; data|, and no)"
        ):
            open_data(data, labels=tmp_path / "l.csv")


def test_one_kind_of_files(folder):
    assert open_folder(folder).kind == "pictures"
    (folder / "a.wav").touch()
    with pytest.raises(DataError, match="holds pictures and sounds; files of one kind"):
        open_folder(folder)
