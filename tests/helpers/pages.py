"""The fenced blocks of the project's Markdown pages, and how to run them as a reader would.

A page is run from top to bottom in one folder that looks like a checkout. Of its blocks

* ``sh`` is given to bash, unless it only sets something up (:data:`SETTING_UP`), measures for
  minutes (:data:`MEASURING`) or names files that the reader has and the project has not
  (:data:`ABSENT`): of those the options are checked;
* ``python`` is run by itself, unless it imports what is not installed and is no dependency of the
  tests (:data:`OPTIONAL`);
* ``text`` is what the block before it prints, with ``...`` for what differs from run to run; under
  the title "for example" numbers may be others;
* any other language with ``title="FILE"`` becomes that file.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
ABSENT = "path/to/"
SETTING_UP = ("make", "pip", "git")
# Who pins a program to processors wants a figure that is worth the time.
MEASURING = "taskset"
OPTIONAL = ("torch_pruning", "torch")
FENCE = re.compile(r"^```([a-z]*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOR_EXAMPLE = "for example"
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
CHANGE = re.compile(r"[-+][\d.]+ % \([-+]\d+ to [-+]\d+\)")
ASSIGNED = re.compile(r"^\w+=\S*$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; its body is at ``place`` of the page's text."""

    page: Path
    line: int
    language: str
    title: str
    body: str
    place: slice

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """A shell block's commands as lists of words; continued lines are joined."""
        joined = self.body.replace("\\\n", " ")
        lines = (shlex.split(line, comments=True) for line in joined.splitlines())
        return [words for words in lines if words]

    @property
    def programs(self) -> set[str]:
        """The first words of a shell block's commands, settings of variables aside."""
        return {
            next((word for word in words if not ASSIGNED.match(word)), words[0])
            for words in self.commands
        }

    @property
    def sets_up(self) -> bool:
        return self.language == "sh" and self.programs <= set(SETTING_UP)

    @property
    def needs(self) -> str | None:
        """The optional package that a snippet imports."""
        found = (name for name in OPTIONAL if re.search(rf"^\s*import {name}\b", self.body, re.M))
        return next(found, None) if self.language == "python" else None

    @property
    def runs(self) -> bool:
        known = self.language in ("sh", "python") and not self.title
        given = ABSENT not in self.body and self.needs is None
        return known and given and not self.sets_up and MEASURING not in self.programs


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page, in order; those of some languages, or all."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            *(page, text.count("\n", 0, found.start()) + 1, found[1], found[2] or "", found[3]),
            slice(*found.span(3)),
        )
        for found in FENCE.finditer(text)
        if not languages or found[1] in languages
    ]


def shell_blocks(*programs: str) -> Iterator[Block]:
    """The shell blocks of all pages that start one of these programs."""
    for page in PAGES:
        yield from (block for block in blocks(page, "sh") if block.programs & set(programs))


class Reader:
    """Somebody who follows a page in a checkout of the project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.folder.mkdir()
        for name in ("benchmarks", "examples"):
            (self.folder / name).symlink_to(ROOT / name)
        programs = folder / "programs"
        programs.mkdir()
        for name, words in (("nmcore", "-m nmcore"), ("python", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            (programs / name).chmod(0o755)
        self.env = dict(os.environ, PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")

    def follow(self, page: Path) -> int:
        """Run a page from top to bottom; return how many blocks were run."""
        count = 0
        for block, printed in self.outputs(page):
            if block.language == "text":
                check_output(block, printed)
            count += block.runs
        return count

    def outputs(self, page: Path) -> Iterator[tuple[Block, str]]:
        """Run a page; yield each block with what was printed by the last one that was run."""
        printed = ""
        for block in blocks(page):
            if block.language != "text" and block.title:
                self.write(block)
            elif block.sets_up:
                self.install(block)
            elif block.runs:
                printed = self.run(block)
            yield block, printed

    def write(self, block: Block) -> None:
        """Save a block as the file that its title names."""
        path = self.folder / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.body)

    def install(self, block: Block) -> None:
        """Let a package that the page wrote be found, as ``pip install ./FOLDER`` does.

        Its metadata is made by setuptools, without a network; pip itself would fetch setuptools.
        """
        for folder in (self.folder / words[-1] for words in block.commands if words[0] == "pip"):
            if (folder / "pyproject.toml").is_file():
                make = ["-c", "from setuptools import setup; setup()", "--quiet", "egg_info"]
                subprocess.run([sys.executable, *make], cwd=folder, check=True, timeout=60)
                found = self.env.get("PYTHONPATH", "").split(os.pathsep)
                self.env["PYTHONPATH"] = os.pathsep.join([str(folder), *filter(None, found)])

    def run(self, block: Block, timeout: float = 300) -> str:
        """What a block prints, within so many seconds."""
        programs = {
            "sh": ["bash", "-euo", "pipefail", "-c"],
            "python": [sys.executable, "-c"],
        }
        done = subprocess.run(
            [*programs[block.language], block.body],
            cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}: {done.stderr}"
        return done.stdout


def settled(printed: str) -> str:
    """Output without what it says of times because the machine was busy, or was not."""
    return CHANGE.sub("not certain", printed.replace(", uncertain", ""))


def check_output(block: Block, printed: str) -> None:
    """Compare what a page says is printed with what was."""
    how = ELLIPSIS | NORMALIZE_WHITESPACE
    mask = NUMBER if block.title == FOR_EXAMPLE else re.compile("(?!)")
    printed = settled(printed)
    said, got = (mask.sub("#", text) for text in (block.body, printed))
    assert OutputChecker().check_output(said, got, how), f"{block}: got\n{printed}"


@cache
def described(*program: str) -> str:
    """What a program says about its options."""
    name, *rest = program
    words = ["-m", "nmcore", *rest] if name == "nmcore" else rest
    done = subprocess.run(
        [sys.executable, *words, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout
