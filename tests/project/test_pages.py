"""Every command and snippet of the README and of docs/ is run, or checked where it cannot be."""

from __future__ import annotations

import re
from configparser import ConfigParser

import pytest

from pages import PAGES, ROOT, Reader, blocks, described, shell_blocks

LANGUAGES = {"sh", "python", "text", "toml", "json", "bibtex"}
COMMANDS = list(shell_blocks("nmcore", "python"))


def name(page):
    return str(page.relative_to(ROOT))


@pytest.fixture
def reader(tmp_path):
    return Reader(tmp_path)


# Many compressions and their comparisons.
LONG = ("docs/howto/tasks.md", "docs/howto/python.md")
RUN = [
    pytest.param(page, id=name(page), marks=[pytest.mark.slow] if name(page) in LONG else [])
    for page in PAGES
    if any(block.runs for block in blocks(page))
]


@pytest.mark.parametrize("page", RUN)
def test_page_runs(page, reader):
    assert reader.follow(page) > 0


@pytest.mark.parametrize(
    "block", [block for page in PAGES for block in blocks(page) if block.needs], ids=str
)
def test_snippet_with_an_optional_package_runs(block, reader):
    pytest.importorskip(block.needs, reason=f"{block.needs} is not installed")
    reader.run(block)


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_options_exist(block):
    for words in block.commands:
        if words[0] not in ("nmcore", "python") or words[1].startswith("-"):
            continue
        if words[0] == "python" and not (ROOT / words[1]).exists():
            continue  # The page writes the script itself.
        text = described(*words[: 3 if words[1] == "bench" else 2])
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), (words, option)


def test_blocks_are_of_known_languages():
    found = {(block.language, str(block)) for page in PAGES for block in blocks(page)}
    assert [each for each in found if each[0] not in LANGUAGES] == []


@pytest.mark.parametrize("block", list(shell_blocks("make")), ids=str)
def test_make_has_these_words(block):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[1] for words in block.commands if words[0] == "make"} <= targets


def test_extras_exist():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    for page in PAGES:
        named = re.findall(r"(?:\.|nmcore)\[([\w,]+)\]", page.read_text(encoding="utf-8"))
        extras = {extra for each in named for extra in each.split(",")}
        assert extras <= set(setup["options.extras_require"]), page
