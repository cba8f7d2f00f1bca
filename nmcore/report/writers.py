"""Reports as JSON and HTML, and writing them to files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nmcore.errors import ArgumentError
from nmcore.report.html import page
from nmcore.report.report import Report
from nmcore.utils.files import atomic_write


def as_json(report: Report) -> str:
    """Return the report as JSON."""
    return f"{dumps(report.to_dict())}\n"


def as_html(report: Report) -> str:
    """Return the report as a page that needs nothing else."""
    return page(report)


FORMATS: Mapping[str, Callable[[Report], str]] = {".json": as_json, ".html": as_html}


def save(report: Report, path: str | Path) -> None:
    """Write a report in the format that the file's name asks for; a crash leaves no half file.

    Raises
    ------
    ArgumentError
        The name ends in none of :data:`FORMATS`, or the file cannot be written.
    """
    atomic_write(Path(path), _writer(Path(path))(report).encode())


def check_format(path: Path) -> None:
    """Raise unless a report can be written in the format that the file's name asks for.

    Raises
    ------
    ArgumentError
        The name ends in none of :data:`FORMATS`.
    """
    _writer(path)


def _writer(path: Path) -> Callable[[Report], str]:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        names = " or ".join(FORMATS)
        raise ArgumentError(f"report {path}: its name must end in {names}") from None


def dumps(data: Any) -> str:
    """Write JSON that every parser reads: a number that is none (NaN, infinity) is an error.

    Lists of numbers take one line each.

    >>> print(dumps({"error": [0.5, 1.0]}))
    {
      "error": [0.5, 1.0]
    }
    """
    text = json.dumps(data, indent=2, allow_nan=False)
    # Line breaks inside strings are escaped, so what spans lines is a list.
    return re.sub(r"\[\n[-+\d.eE,\s]+\]", _on_one_line, text)


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(numbers[0][1:-1].split())}]"
