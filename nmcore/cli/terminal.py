"""Results as text: tables on a terminal, the same words in plain columns in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from nmcore.cli import logs
from nmcore.cli.progress import track as track
from nmcore.cli.progress import working as working
from nmcore.evaluation.metrics.figures import SAID, figure_of
from nmcore.report.phrases import (
    NOISE,
    latency_change,
    meanings,
    noisy,
)
from nmcore.report.phrases import closing_lines as closing_lines
from nmcore.report.phrases import outcome as outcome
from nmcore.report.phrases import shared_reasons as shared_reasons
from nmcore.report.phrases import what_figures_mean as what_figures_mean
from nmcore.report.phrases import where as where
from nmcore.report.sensitivity import predicted_on as predicted_on
from nmcore.utils.text import (
    change,
    common_folder,
    error_text,
    milliseconds,
    percent,
    printable,
    shortened,
    size,
    without_folder,
)
from nmcore.utils.text import number as number

if TYPE_CHECKING:
    from nmcore.evaluation.evaluate import Evaluation
    from nmcore.evaluation.latency import Latency
    from nmcore.group import Group
    from nmcore.report.report import GroupReport, Report
    from nmcore.report.sensitivity import GroupSensitivity, Sensitivity
    from nmcore.sweeps.records import Record

G = TypeVar("G")
N = TypeVar("N", int, int | None, float | None)

# A space at which what a column is called is not broken.
TOGETHER = "\N{NO-BREAK SPACE}"
# Wider than any line: in a pipe nothing is wrapped, and no name is cut.
PIPE_WIDTH = 100_000
# Text on a terminal is folded to no less than this.
TEXT_WIDTH = 8
# On a terminal so many groups are listed, unless --all asks for all, and names in lines of text
# have so many letters.
LISTED_GROUPS, NAME_WIDTH = 10, 36


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the program, which knows that nothing is wrong."""
        raise BrokenPipeError


def console() -> Console:
    """Return what tables are printed on; names are never taken for markup."""
    plain = not sys.stdout.isatty()
    return _Console(
        width=PIPE_WIDTH if plain else None,
        no_color=plain or None,
        force_terminal=False if plain else None,
        markup=False,
        emoji=False,
        highlight=False,
    )


def speaks() -> bool:
    """Whether an account is wanted on stdout, which ``--quiet`` does without."""
    return logs.notices()


def notify(line: str) -> None:
    """Tell the user something on stderr, where it does not mix with results."""
    logs.log.info("%s", line)


def warn(line: str) -> None:
    """Warn the user on stderr, unless nothing but errors is wanted."""
    logs.log.warning("%s", line)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Lay out rows: the first column and those whose header starts with ``<`` are text.

    Text is left-aligned, and loses its middle where a terminal is too narrow; numbers are on the
    right.
    """
    plain = not sys.stdout.isatty()
    cells = [[printable(cell) for cell in row] for row in rows]
    if not plain:
        cells = _fitting(headers, cells, console().width)
    style = None if plain else box.SIMPLE_HEAD
    grid = Table(
        box=style,
        padding=(0, 0, 0, 2 if plain else 1),
        pad_edge=False,
        show_edge=False,
        header_style="" if plain else "bold",
    )
    for position, header in enumerate(headers):
        if position == 0 or header.startswith("<"):
            grid.add_column(header.removeprefix("<"), overflow="fold", min_width=TEXT_WIDTH)
        else:
            # On a terminal, where room is scarce, what a column is called takes several lines.
            words = header if plain else header.replace(" ", "\n")
            words = words.replace(TOGETHER, " ")
            longest = [*words.splitlines(), *(row[position] for row in cells)]
            grid.add_column(words, justify="right", no_wrap=True, min_width=max(map(len, longest)))
    for row in cells:
        grid.add_row(*map(Text, row))
    return grid


def _fitting(headers: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The cells, with text that loses what all of a column begins with, and then its middle, where
    a line would be too long.
    """
    texts = [k for k, header in enumerate(headers) if k == 0 or header.startswith("<")]
    longest = [
        max([*map(len, headers[k].removeprefix("<").split()), *(len(row[k]) for row in cells), 0])
        for k in range(len(headers))
    ]
    for k in texts:
        longest[k] = max(longest[k], TEXT_WIDTH)
    # Two spaces lie between columns.
    room = width - 2 * (len(headers) - 1)
    room -= sum(length for k, length in enumerate(longest) if k not in texts)
    narrow = _shared({k: longest[k] for k in texts}, room)
    begins = {k: common_folder([row[k] for row in cells]) for k in texts if narrow[k] < longest[k]}
    return [
        [
            shortened(without_folder(cell, begins.get(k, "")), narrow.get(k, len(cell)))
            for k, cell in enumerate(row)
        ]
        for row in cells
    ]


def _shared(longest: dict[int, int], room: int) -> dict[int, int]:
    """How much room each text gets of what there is; short ones no more than they need."""
    given: dict[int, int] = {}
    ordered = sorted(longest, key=longest.__getitem__)
    for left, k in zip(range(len(ordered), 0, -1), ordered, strict=True):
        given[k] = min(longest[k], max(room // left, TEXT_WIDTH))
        room -= given[k]
    return given


def listed(groups: Sequence[G], *, everything: bool) -> tuple[Sequence[G], Sequence[str]]:
    """The groups to list, and a line that counts the others; all in a pipe."""
    more = len(groups) - LISTED_GROUPS
    if everything or more <= 0 or not sys.stdout.isatty():
        return groups, ()
    return groups[:LISTED_GROUPS], (f"and {more} more groups; --all lists them",)


def name_in_text(name: str) -> str:
    """A name as it stands in a line of text: short on a terminal, whole in a pipe."""
    return shortened(name, NAME_WIDTH) if sys.stdout.isatty() else name


def show(out: Console, grid: Table) -> None:
    """Print a table, without the spaces that pad its last column.

    Nothing is ever cut: where the numbers alone are wider than the terminal, that wraps the lines.
    """
    if not out.is_terminal:
        grid.box = None
    width, out.width = out.width, max(out.width, least_width(out, grid))
    with out.capture() as capture:
        out.print(grid, crop=False)
    out.width = width
    for line in capture.get().splitlines():
        out.file.write(line.rstrip() + "\n")


def least_width(out: Console, grid: Table) -> int:
    """How many columns of a terminal a table needs."""
    return Measurement.get(out, out.options.update(width=PIPE_WIDTH), grid).minimum


def cost_table(report: Report) -> Table:
    """Return the before/after table."""
    before, after = report.before, report.after
    return table(
        ("", "before", "after", "change"),
        [
            _cost_row("nodes", before.nodes, after.nodes, number),
            _cost_row("parameters", before.params, after.params, number),
            _cost_row("MACs", before.macs, after.macs, number),
            _cost_row("file size", before.bytes, after.bytes, size),
            *([] if before.latency_ms is None and not report.removed else [_latency_row(report)]),
        ],
    )


def _cost_row(name: str, before: N, after: N, write: Callable[[N], str]) -> tuple[str, ...]:
    return name, write(before), write(after), change(before, after)


def _latency_row(report: Report) -> tuple[str, ...]:
    """The row of the latency, whose change is told with its spread."""
    before, after = report.before, report.after
    times = milliseconds(before.latency_ms), milliseconds(after.latency_ms)
    return "latency", *times, latency_change(before, after)


def groups_table(groups: Sequence[GroupReport]) -> Table:
    """Return one line a group."""
    headers = ["group", "width", "kept", "merged", f"left{TOGETHER}out", "<method"]
    return table(headers, [_group_row(group) for group in groups])


def _group_row(group: GroupReport) -> tuple[str, ...]:
    counts = (group.width, group.kept, group.merged, group.left_out)
    return group.name, *map(str, counts), group.method


def inspected_groups_table(groups: Sequence[Group]) -> Table:
    """Return one line a group of a model that is not compressed yet."""
    return table(
        ("group", "width", "<made by", "<read by"),
        [
            (group.name, _width(group), ", ".join(group.producers), ", ".join(group.consumers))
            for group in groups
        ],
    )


def sensitivity_table(found: Sensitivity) -> Table:
    """Return one line a group: what it holds, and what cutting it alone costs."""
    shares = [f"{100 * ratio:.0f}%" for ratio in found.ratios]
    headers = ["group", "width", "params", "MACs", *(f"error {share}" for share in shares)]
    if found.measure is not None:
        headers += [f"drop {share}" for share in shares]
    return table(
        headers, [_sensitivity_row(row, found.measure is not None) for row in found.groups]
    )


def _sensitivity_row(row: GroupSensitivity, measured: bool) -> tuple[str, ...]:
    holds = (row.name, str(row.width), number(row.params), number(row.macs))
    errors = map(error_text, row.error)
    return (*holds, *errors, *(map(percent, row.drop) if measured else ()))


def _width(group: Group) -> str:
    """How many channels there are, or how many blocks of how many."""
    return f"{group.width} x {group.block}" if group.block > 1 else str(group.width)


def evaluation_table(out: Console, results: Sequence[Evaluation]) -> Table:
    """Return one line a model, or one column a model where lines are too long for the terminal."""
    columns: list[tuple[str, Any]] = [
        ("model", lambda r: r.model),
        *((figure_of(name).header, partial(_figure, name)) for name in results[0].metrics),
        ("latency", _evaluated_latency),
        ("parameters", lambda r: number(r.params)),
        ("MACs", lambda r: number(r.macs)),
        ("file size", lambda r: size(r.bytes)),
    ]
    headers = [name for name, _ in columns]
    rows = [[write(one) for _, write in columns] for one in results]
    grid = table(headers, rows)
    names = [printable(row[0]) for row in rows]
    if not out.is_terminal:
        return grid
    whole = [*grid.columns[0].cells] == [*map(Text, names)]
    # What stands on the left of a model's column, and two spaces before each.
    room = out.width - max(map(len, headers)) - 2 * len(names)
    figures = max(len(cell) for row in rows for cell in row[1:])
    if least_width(out, grid) <= out.width and (whole or room < figures * len(names)):
        return grid
    widths = _shared({k: max(len(name), figures) for k, name in enumerate(names)}, room)
    _, *models = (
        [header, *row] for header, row in zip(headers, zip(*rows, strict=True), strict=True)
    )
    return table(["", *(f"<{shortened(n, widths[k])}" for k, n in enumerate(names))], models)


def _figure(name: str, result: Evaluation) -> str:
    return figure_of(name).number(result.metrics[name])


def _evaluated_latency(result: Evaluation) -> str:
    return f"{milliseconds(result.latency_ms)}{', uncertain' if [*cautions(result)] else ''}"


def cautions(result: Evaluation) -> Iterator[str]:
    """Yield why figures of a model are not to be trusted."""
    if noisy(result.latency_low_ms, result.latency_high_ms):
        yield NOISE


def records_table(records: Sequence[Record]) -> Table:
    """Return one line a cell of a sweep, those of a model below the model as it is."""
    told = (n for each in records for n, value in each.metrics.items() if value is not None)
    figures = [*dict.fromkeys(told)]
    rows: list[tuple[str, ...]] = []
    for _, cells in groupby(records, key=lambda record: record.key["model_sha256"]):
        several = list(cells)
        whole = next((each for each in several if each.error is None), None)
        if whole is not None:
            known = whole.metrics_before
            measured = [figure_of(name).number(known.get(name)) for name in figures]
            costs = whole.params_before, whole.macs_before, whole.bytes_before
            rows.append((whole.model, "as it is", "", *measured, *_costs(*costs)))
        rows += [_record_row(each, figures) for each in several]
    headers = [figure_of(name).header for name in figures]
    costs_of = ["parameters", "MACs", "file size"]
    return table(["model", "<method", "<asked for", *headers, *costs_of], rows)


def _record_row(record: Record, figures: Sequence[str]) -> tuple[str, ...]:
    asked = f"{record.budget} {record.share:g}"
    costs = _costs(record.params, record.macs, record.bytes)
    if record.error is not None:
        costs = ("-", "-", "failed")
    measured = [figure_of(name).number(record.metrics.get(name)) for name in figures]
    return record.model, record.method, asked, *measured, *costs


def _costs(params: int | None, macs: int | None, count: int | None) -> tuple[str, str, str]:
    return number(params), number(macs), "?" if count is None else size(count)


def latency_table(names: Sequence[str], times: Sequence[Latency]) -> Table:
    """Return one line a model."""
    return table(
        ("model", "median", "10 %", "90 %", "runs"),
        [
            (
                name,
                milliseconds(t.median_ms),
                milliseconds(t.low_ms),
                milliseconds(t.high_ms),
                str(t.runs),
            )
            for name, t in zip(names, times, strict=True)
        ],
    )


def evaluation_notes(results: Sequence[Evaluation]) -> Iterator[str]:
    """Yield what the table of an evaluation leaves unsaid."""
    first = results[0]
    kind = "input" if first.data is not None else "synthetic input"
    yield f"{first.n:,} {kind}{'s' if first.n > 1 else ''}; {where(first.provider, first.threads)}"
    if first.data is None and len(results) > 1:
        yield "synthetic inputs tell how alike models are, not how good; --data takes real ones"
    yield from dict.fromkeys(line for result in results for line in cautions(result))
    if len(results) == 1 and not any(value is not None for value in first.metrics.values()):
        yield "no figure: one model is judged by classes y; a second one is compared with the first"
    batches = {result.latency_batch for result in results}
    inputs = " or ".join(map(str, sorted(batches)))
    yield f"a run takes {inputs} input{'' if batches == {1} else 's'}"
    if len(results) > 1:
        yield SAID[first.form]
        for result in results[1:]:
            yield from (printable(f"{result.model}: {told}") for told in result.told)
        yield from meanings(first.metrics)
        told = [name for name in first.metrics if figure_of(name).meaning]
        if told:
            names = " and ".join([", ".join(told[:-1]), told[-1]] if told[1:] else told)
            yield f"{names}: compared with {printable(first.model)}"
