"""Reports as Python shows them: text at a prompt, a compact table in a notebook."""

from __future__ import annotations

from collections.abc import Iterator

from nmcore.report.html.markup import Html, tag
from nmcore.report.phrases import comparison, shared_reasons, what_figures_mean
from nmcore.report.report import Report
from nmcore.report.tables import Rows, columns, html_table
from nmcore.utils.text import (
    change,
    number,
    printable,
    size,
)

# So many groups are shown; the report has them all.
SHOWN = 20


def report_text(report: Report) -> str:
    """What came of a compression: the costs before and after, the groups, the notes."""
    parts = [[_headline(report)], columns(_costs(report)), columns(_groups(report))]
    return "\n\n".join("\n".join(part) for part in (*parts, [*_lines(report)]) if part)


def report_html(report: Report) -> str:
    """The same for a notebook."""
    return tag(
        "div",
        tag("p", _headline(report)),
        html_table(_costs(report)),
        html_table(_groups(report)) if report.groups else Html(),
        *(tag("div", line) for line in _lines(report)),
    )


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
    if report.fidelity is not None:
        yield from map(printable, comparison(report.fidelity))
        yield from map(printable, what_figures_mean(report.fidelity))
