r"""Table 2: MobileNetV1 on CIFAR-10, every layer cut in equal proportion.

    python benchmarks/accuracy/table2.py path/to/mobilenet_v1_cifar10*.onnx \
        --data path/to/cifar10_test.npz --calibration path/to/cifar10_calib.npz --json table2.json

A pointwise convolution and the depthwise one behind it are taken for one regular convolution, whose
filters are their outer products. The last pointwise convolution keeps its outputs, which only the
classifier reads: so, and only so, do the parameters come out as in the paper.
"""

from __future__ import annotations

import argparse
import glob
from collections.abc import Sequence
from pathlib import Path

from arguments import Parser, existing, share
from delivery import Outcome, deliver
from figures import Panel
from methods import (
    CRITERIA,
    OURS,
    PAPER,
    WHOLE,
    Results,
    accuracies,
    add_methods,
    norm_of,
    removed_panel,
    row_results,
    settings,
    usable,
)
from store import Grid, Record, Result
from tables import Table, millions, number, percent
from trials import CIFAR10, QUICK_SAMPLES, Bench, Trial, bench_of, groups

# Share removed: prune, merge, parameters in millions.
PUBLISHED = {40: (84.52, 85.84, "1.4M"), 50: (77.34, 80.74, "1.0M"), 60: (39.39, 55.88, "0.7M")}
WHOLE_SIZE = "3.2M"
METHODS = (*PAPER, *OURS)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=existing, nargs="+", metavar="MODEL.onnx")
    parser.add_files()
    add_methods(parser, METHODS)
    parser.add_argument(
        "--ratio",
        type=share,
        nargs="+",
        default=[0.4, 0.5, 0.6],
        metavar="R",
        help="shares to remove",
    )
    parser.add_quick(f"one model, one share, the first {QUICK_SAMPLES} images")
    return parser.parse_args()


def measure(
    bench: Bench, models: Sequence[Path], ratios: Sequence[float], methods: Sequence[str]
) -> None:
    """Fill every cell."""
    for model in models:
        norm = norm_of(model)
        bench.run(Trial(model), {"batch norm": norm, "method": WHOLE})
        last, _ = groups(model)[-1]
        for ratio in ratios:
            size = ("--ratio", f"{ratio:g}", "--exclude", glob.escape(last))
            cell = {"batch norm": norm, "removed": f"{100 * ratio:.0f}"}
            for setting in settings(model, cell, size):
                setting.run(bench, methods)


def outcome(records: Sequence[Record]) -> Outcome:
    """Write the tables of accuracy and of size, and the picture."""
    grid = Grid(records)
    accuracy: list[list[str]] = []
    counts: list[list[str]] = []
    panels: list[Panel] = []
    for norm, criteria in CRITERIA.items():
        whole = grid.find(**{"batch norm": norm}, method=WHOLE)
        for criterion in criteria:
            found = measured(grid, norm, criterion)
            accuracy += [
                [
                    f"{removed} %",
                    norm,
                    criterion,
                    percent(whole),
                    *accuracies(results),
                    *paper(removed),
                ]
                for removed, results in found.items()
            ]
            if found:
                panels.append(removed_panel(f"batch norm {norm}, {criterion}", found, whole))
        merged = measured(grid, norm, criteria[0])
        sizes = {0: whole, **{removed: results["merge"] for removed, results in merged.items()}}
        counts += [size_row(removed, norm, result) for removed, result in sizes.items() if result]
    headers = ["removed", "batch norm", "criterion", "baseline", "prune", "merge", "gain", *OURS]
    table = Table([*headers, "paper: prune", "merge", "gain"], accuracy)
    size_headers = ["removed", "batch norm", "numbers", "trained", "in short", "paper", "MACs"]
    return Outcome([table, Table(size_headers, counts)], panels)


def measured(grid: Grid, norm: str, criterion: str) -> dict[int, Results]:
    """Return what was found for each share."""
    found = {}
    for removed in sorted(map(int, grid.values("removed"))):
        cell = {"batch norm": norm, "removed": str(removed)}
        results = row_results(grid, METHODS, criterion, **cell)
        if results["prune"] or results["merge"]:
            found[removed] = results
    return found


def size_row(removed: int, norm: str, result: Result) -> list[str]:
    """Write what is stored, what of it is trained, and that to the paper's precision."""
    published = PUBLISHED[removed][2] if removed in PUBLISHED else ""
    short = millions(result["trained"], 1)
    trained = [number(result, "trained"), short, published if removed else WHOLE_SIZE]
    return [f"{removed} %", norm, number(result, "params"), *trained, number(result, "macs")]


def paper(removed: int) -> list[str]:
    """Return what the paper's table says of a share, if it does."""
    if removed not in PUBLISHED:
        return ["", "", ""]
    prune, merge, _ = PUBLISHED[removed]
    return [f"{prune:.2f}", f"{merge:.2f}", f"{merge - prune:+.2f}"]


def main() -> None:
    """Measure, print, and write beside the JSON."""
    options = parse()
    bench = bench_of(options, CIFAR10)
    some = slice(1 if options.quick else None)
    methods = usable(options.method, bench)
    measure(bench, options.models[some], options.ratio[some], methods)
    deliver(outcome(bench.store.records), bench.store.path)


if __name__ == "__main__":
    main()
