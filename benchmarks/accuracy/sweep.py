"""The published sweep on one network: criteria by shares removed, all methods.

``lenet300100.py`` and ``resnet56.py`` say which network, at which widths.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arguments import Parser, share
from delivery import Outcome, deliver
from figures import Panel
from methods import (
    OURS,
    PAPER,
    WHOLE,
    Setting,
    accuracies,
    add_methods,
    removed_panel,
    row_results,
    usable,
)
from store import Grid, Record
from tables import Table, percent, size
from trials import QUICK_SAMPLES, Trial, bench_of

METHODS = (*PAPER, "ridge", *OURS)
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
QUICK_RATIOS = (0.6,)


@dataclass(frozen=True)
class Variant:
    """One graph of the network.

    Attributes
    ----------
    name : str
        What tells it from the network's other graphs.
    criteria : sequence of str
        By which methods that look at weights choose channels.
    merge : tuple of str
        More options for merge.
    size : callable
        From a share to options of ``nmcore compress``.
    """

    model: Path
    name: str
    criteria: Sequence[str]
    merge: tuple[str, ...]
    size: Callable[[float], tuple[str, ...]]

    def settings(self, ratios: Sequence[float]) -> Iterator[Setting]:
        """Yield every row, those of one share together."""
        for ratio in ratios:
            for criterion in self.criteria:
                cell = {"graph": self.name, "removed": f"{100 * ratio:.0f}"}
                yield Setting(self.model, cell, self.size(ratio), criterion, self.merge)


def add_options(parser: Parser) -> None:
    """Add what all sweeps take."""
    parser.add_files()
    parser.add_argument(
        "--ratio", type=share, nargs="+", default=RATIOS, metavar="R", help="shares to remove"
    )
    add_methods(parser, METHODS)
    parser.add_quick(f"one criterion, one share, the first {QUICK_SAMPLES} images")


def run(options: argparse.Namespace, preparation: Sequence[str], variants: list[Variant]) -> None:
    """Measure, print, and write beside the JSON."""
    bench = bench_of(options, preparation)
    ratios: Sequence[float] = options.ratio
    if options.quick:
        ratios = QUICK_RATIOS
        variants = [replace(variants[0], criteria=variants[0].criteria[:1])]
    for variant in variants:
        bench.run(Trial(variant.model), {"graph": variant.name, "method": WHOLE})
        for setting in variant.settings(ratios):
            setting.run(bench, usable(options.method, bench))
    deliver(outcome(bench.store.records), bench.store.path)


def outcome(records: Sequence[Record]) -> Outcome:
    """Write a table and draw a panel for each graph and criterion."""
    grid = Grid(records)
    tables: list[Table] = []
    panels: list[Panel] = []
    for graph in grid.values("graph"):
        whole = grid.find(graph=graph, method=WHOLE)
        rows: list[list[str]] = []
        for criterion in (each for each in grid.values("criterion") if each != "error"):
            found = {}
            for removed in sorted(map(int, grid.values("removed"))):
                cell = {"graph": graph, "removed": str(removed)}
                results = row_results(grid, METHODS, criterion, **cell)
                first = results["prune"] or results["merge"]
                if first is None:
                    continue
                found[removed] = results
                rows.append([criterion, f"{removed} %", *size(first), *accuracies(results)])
            if found:
                panels.append(removed_panel(f"{graph}, {criterion}", found, whole))
        params, macs = size(whole)
        title = f"{graph}: {percent(whole)} before, {params} parameters, {macs} MACs"
        headers = ["criterion", "removed", "parameters", "MACs", "prune", "merge", "gain"]
        tables.append(Table([*headers, *METHODS[2:]], rows, title))
    return Outcome(tables, panels)
