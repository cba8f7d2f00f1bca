"""The figures as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

HEADINGS = ("contender", "ms", "GFLOP/s", "of sgemm", "peak MB", "vs ours")
_MARK = "*"
# Turns of one contender that differ by more than this factor tell little.
_STEADY = 2.0


def cells(result: Mapping[str, Any], size: str) -> list[list[str]]:
    """Return the figures of one size in words, a list a contender, the fastest first.

    Parameters
    ----------
    result : dict
        From :func:`nmcore.bench.run_kernels`.
    size : str
        One of its sizes.

    Returns
    -------
    list of lists of str
        A cell for each of ``HEADINGS``.

    Examples
    --------
    >>> from nmcore.bench import run_kernels
    >>> result = run_kernels(["20x8,10"], [], repeats=1, kernels=["numpy"], memory=False)
    >>> sorted(row[0] for row in cells(result, "20 x 8, 10"))
    ['nmcore numpy', 'sgemm of this machine']
    """
    rows = [row for row in result["rows"] if row["size"] == size]
    ours = min((row["seconds"] for row in rows if row["ours"]), default=None)
    return [
        [
            row["name"] + (_MARK if row["scaled_up"] else ""),
            _milliseconds(row["seconds"]),
            f"{row['gflops']:.1f}",
            _percent(row["sgemm_share"]),
            "" if row["peak_mb"] is None else f"{row['peak_mb']:.0f}",
            "" if ours is None else f"{row['seconds'] / ours:.2f}",
        ]
        for row in sorted(rows, key=lambda row: float(row["seconds"]))
    ]


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f}" if seconds < 1 else f"{1e3 * seconds:,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def sizes(result: Mapping[str, Any]) -> list[str]:
    """Return the sizes of a result in their order."""
    return list(dict.fromkeys(row["size"] for row in result["rows"]))


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Return one table a size, for a terminal of 80 columns.

    Examples
    --------
    >>> from nmcore.bench import run_kernels
    >>> result = run_kernels(["20x8,10"], [], repeats=1, kernels=["numpy"], memory=False)
    >>> [table.title for table in tables(result)]
    ['20 x 8, 10']
    """
    from rich import box
    from rich.table import Table

    found = []
    for size in sizes(result):
        table = Table(title=size, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(HEADINGS[0], no_wrap=True)
        for heading in HEADINGS[1:]:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in cells(result, size):
            table.add_row(*row)
        found.append(table)
    return found


def legend(result: Mapping[str, Any]) -> list[str]:
    """Return lines that explain the tables.

    Examples
    --------
    >>> legend({"machine": {"processor": "Z80", "threads": 1}, "rows": []})
    ['Z80, 1 thread']
    """
    rows: Sequence[Mapping[str, Any]] = result["rows"]
    machine = result["machine"]
    plural = "" if machine["threads"] == 1 else "s"
    lines = [f"{machine['processor']}, {machine['threads']} thread{plural}"]
    if any(row["scaled_up"] for row in rows):
        lines.insert(0, f"{_MARK} timed on some of the rows, and that time multiplied")
    unsteady = sum(row["slowest"] > _STEADY * row["fastest"] for row in rows)
    if unsteady:
        lines.append(
            f"uncertain: turns of {unsteady} of {len(rows)} rows differ more than twofold, the "
            "machine is busy"
        )
    return lines
