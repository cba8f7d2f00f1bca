"""Reports as files, and the JSON that they hold."""

from __future__ import annotations

import json
import os

import pytest

from nmcore.errors import ArgumentError
from nmcore.report.writers import check_format, dumps, save


def test_the_name_of_the_file_decides_its_format(report, tmp_path):
    save(report, tmp_path / "r.HTML")
    assert (tmp_path / "r.HTML").read_text().startswith("<!doctype html>")
    save(report, str(tmp_path / "r.json"))
    assert json.loads((tmp_path / "r.json").read_text())["seed"] == 7
    with pytest.raises(ArgumentError, match="must end in"):
        save(report, tmp_path / "r.pdf")


def test_a_crash_leaves_the_old_report(report, tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    path.write_text("old")

    def crash(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save(report, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_number_that_is_none_is_not_written():
    with pytest.raises(ValueError, match="JSON"):
        dumps({"x": float("nan")})


def test_lists_of_numbers_take_a_line_and_text_stays_as_it_is():
    data = {"error": [0.5, -1e-7, 3], "text": "[\n1,\n2\n]", "none": [], "mixed": [1, None]}
    assert json.loads(dumps(data)) == data
    assert '"error": [0.5, -1e-07, 3]' in dumps(data)


def test_control_characters_are_escaped():
    assert dumps(["a\nb\x1b"]) == '[\n  "a\\nb\\u001b"\n]'


def test_only_known_formats(tmp_path):
    check_format(tmp_path / "r.JSON")
    check_format(tmp_path / "r.html")
    with pytest.raises(ArgumentError, match=r"must end in \.json or \.html"):
        check_format(tmp_path / "r.xml")
