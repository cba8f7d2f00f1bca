"""Rows of cells as text in columns, and as an HTML table."""

from __future__ import annotations

from collections.abc import Sequence

from nmcore.report.html.components import table
from nmcore.report.html.markup import Html

# The first row is the head.
Rows = Sequence[Sequence[str]]


def columns(rows: Rows) -> list[str]:
    """Text in columns, the first on the left and the others on the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def html_table(rows: Rows) -> Html:
    """The same as HTML."""
    return table(rows[0], rows[1:])
