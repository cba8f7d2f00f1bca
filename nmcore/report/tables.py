"""Rows of cells as text in columns, and as an HTML table."""

from __future__ import annotations

from collections.abc import Sequence

from nmcore.report.html.components import table
from nmcore.report.html.markup import Html

# The first row is the head.
Rows = Sequence[Sequence[str]]


def columns(rows: Rows) -> list[str]:
    """Text in columns: the first and those whose header starts with ``<`` on the left.

    >>> columns([("group", "width", "<made by"), ("conv1", "16", "conv1")])
    ['group  width  made by', 'conv1     16  conv1']
    """
    left = [not place or cell.startswith("<") for place, cell in enumerate(rows[0])]
    shown = [[cell.removeprefix("<") for cell in rows[0]], *rows[1:]]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in shown
    ]


def html_table(rows: Rows) -> Html:
    """The same as HTML."""
    return table(rows[0], rows[1:])
