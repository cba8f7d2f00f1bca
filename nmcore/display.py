"""Results as Python shows them: text at a prompt, a compact table in a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nmcore.inspection import Sensitivity
from nmcore.page.markup import Html, tag
from nmcore.page.parts import table
from nmcore.report import Report
from nmcore.wording import (
    change,
    error_text,
    number,
    percent,
    predicted_on,
    printable,
    shared_reasons,
    size,
)

# So many groups are shown; the report has them all.
SHOWN = 20

Rows = Sequence[Sequence[str]]


def report_text(report: Report) -> str:
    """What came of a compression: the costs before and after, the groups, the notes."""
    parts = [[_headline(report)], _columns(_costs(report)), _columns(_groups(report))]
    return "\n\n".join("\n".join(part) for part in (*parts, [*_lines(report)]) if part)


def report_html(report: Report) -> str:
    """The same for a notebook."""
    return tag(
        "div",
        tag("p", _headline(report)),
        _table(_costs(report)),
        _table(_groups(report)) if report.groups else Html(),
        *(tag("div", line) for line in _lines(report)),
    )


def sensitivity_text(found: Sensitivity) -> str:
    """What each group can lose."""
    return "\n".join([*_columns(_sensitivity(found)), "", *predicted_on(found)])


def sensitivity_html(found: Sensitivity) -> str:
    """The same for a notebook."""
    lines = (tag("div", line) for line in predicted_on(found))
    return tag("div", _table(_sensitivity(found)), *lines)


def _headline(report: Report) -> str:
    width = sum(group.width for group in report.groups)
    touched = sum(group.kept < group.width for group in report.groups)
    name = f"{printable(report.model)}: " if report.model else ""
    return (
        f"{name}{report.removed:,} of {width:,} channels removed, "
        f"in {touched:,} of {len(report.groups):,} groups"
    )


def _costs(report: Report) -> Rows:
    before, after = report.before, report.after
    return [
        ("", "before", "after", "change"),
        *(
            (name, write(old), write(new), change(old, new))
            for name, old, new, write in (
                ("parameters", before.params, after.params, number),
                ("MACs", before.macs, after.macs, number),
            )
        ),
        ("file size", size(before.bytes), size(after.bytes), change(before.bytes, after.bytes)),
    ]


def _groups(report: Report) -> Rows:
    shown = [
        (printable(group.name), f"{group.width:,}", f"{group.kept:,}", group.method)
        for group in report.groups[:SHOWN]
    ]
    return [("group", "width", "kept", "method"), *shown] if shown else []


def _lines(report: Report) -> Iterator[str]:
    if len(report.groups) > SHOWN:
        yield f"and {len(report.groups) - SHOWN:,} more groups; .report has them all"
    yield from (f"warning: {line}" for line in report.warnings)
    yield from shared_reasons(report.groups)
    yield from map(printable, report.notes)


def _sensitivity(found: Sensitivity) -> Rows:
    shares = [f"{100 * ratio:.0f}%" for ratio in found.ratios]
    measured = found.measure is not None
    head = ["group", "width", "params", "MACs", *(f"error {share}" for share in shares)]
    rows = [
        (
            *(printable(row.name), f"{row.width:,}", number(row.params), number(row.macs)),
            *map(error_text, row.error),
            *(map(percent, row.drop) if measured else ()),
        )
        for row in found.groups
    ]
    return [[*head, *(f"drop {share}" for share in shares if measured)], *rows]


def _columns(rows: Rows) -> list[str]:
    """Text in columns, the first on the left and the others on the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _table(rows: Rows) -> Html:
    return table(rows[0], rows[1:])
