"""CONTRIBUTING.md names what there is, and the sizes that it promises hold."""

from __future__ import annotations

import re

import pytest

from pages import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROOTS = {"nmcore": ROOT / "nmcore", "backends/nmcore_onnx": ROOT / "backends/nmcore_onnx"}
MOST_LINES, MOST_MODULES = 450, 15


def modules(folder):
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


def test_paths_exist():
    named = re.findall(r"`((?:nmcore|backends|tests|\.ci)/[\w./]+)`", TEXT)
    assert len(named) > 20
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


def test_make_has_these_words():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)$", TEXT, re.MULTILINE)) == {
        *("format", "lint", "types", "docs", "test")
    }
    assert set(re.findall(r"`make ([a-z-]+)`", TEXT)) <= targets


@pytest.mark.parametrize("name", ROOTS)
def test_every_package_has_its_row(name):
    _, table = TEXT.split(f"| `{name}/` | purpose |\n")
    rows = table.split("\n\n")[0].splitlines()[1:]
    said = [each for row in rows for each in re.findall(r"`([\w./]+)`", row.split("|")[1])]
    folders = {each.rstrip("/").split("/")[0] for each in said if each.endswith("/")}
    there = {path.parent.name for path in ROOTS[name].glob("*/__init__.py")}
    assert folders == there
    assert all((ROOTS[name] / each).exists() for each in said)


@pytest.mark.parametrize("root", [*ROOTS.values(), ROOT / "backends/nmcore_ort"], ids=str)
def test_modules_and_folders_are_small(root):
    for folder in (root, *(path.parent for path in root.rglob("__init__.py"))):
        assert len(modules(folder)) <= MOST_MODULES, folder
        for path in modules(folder):
            count = len(path.read_text(encoding="utf-8").splitlines())
            assert count <= MOST_LINES, (path, count)
