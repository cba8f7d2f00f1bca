"""A report without the folders of the machine that it was made on: a page is handed on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

from nmcore.report.report import Report

# What these options are given are names of nodes, which may look like paths.
_NAMES = ("--only", "--exclude", "--keep")
# Arguments of a call that name files.
_FILES = re.compile(r"(\(|\b(?:data|plan|preprocess|labels|vocabulary)=)'([^']*[/\\][^']*)'")


def portable(report: Report) -> Report:
    """The report with files by their names alone, in the command, the notes and the warnings."""
    found = report.fidelity
    changed = replace(report, command=without_folders(report.command))
    if found is None or found.synthetic or _file(found.data) == found.data:
        return changed
    name = _file(found.data)

    def named(lines: object) -> tuple[str, ...]:
        return tuple(str(line).replace(found.data, name) for line in lines)  # type: ignore[attr-defined]

    return replace(
        changed,
        fidelity=replace(found, data=name, told=named(found.told), lost=named(found.lost)),
        warnings=named(report.warnings),
        notes=named(report.notes),
        steps=tuple(
            replace(
                each, fidelity=None if each.fidelity is None else replace(each.fidelity, data=name)
            )
            for each in report.steps
        ),
    )


def without_folders(command: str) -> str:
    """A command or a call with the names of files in place of their paths.

    >>> without_folders("nmcore compress /home/me/a.onnx out/b.onnx --exclude '/layer1/*'")
    "nmcore compress a.onnx b.onnx --exclude '/layer1/*'"
    >>> without_folders("nmcore.compress('models/a.onnx', ratio=0.5, data='/data/x.npz')")
    "nmcore.compress('a.onnx', ratio=0.5, data='x.npz')"
    """
    if not command.startswith("nmcore "):
        return _FILES.sub(lambda found: f"{found[1]}{_file(found[2])!r}", command)
    return shlex.join(_words(shlex.split(command)))


def _words(words: list[str]) -> Iterator[str]:
    before = ""
    for word in words:
        option, equals, value = word.partition("=")
        if before in _NAMES or option in _NAMES:
            yield word
        elif word.startswith("--") and equals:
            yield f"{option}={_file(value)}"
        else:
            yield _file(word)
        before = word


def _file(path: str) -> str:
    """The name behind the last separator of a path."""
    return PurePath(path.replace("\\", "/")).name if re.search(r"[/\\]", path) else path
