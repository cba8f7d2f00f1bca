r"""Table 1: merging behind other activations than ReLU, VGG-16 on CIFAR-10.

    python benchmarks/accuracy/table1.py path/to/vgg16_*.onnx --data path/to/cifar10_test.npz \
        --calibration path/to/cifar10_calib.npz --json table1.json

A file bears its activation in its name, and ``_bn`` at the end where its batch norms are nodes of
the graph, as ``train.py`` writes them. The widths are the paper's, as shares of each layer: half
of the first convolution and of the last six; the classifier stays.
"""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from arguments import Parser, existing
from delivery import Outcome, deliver
from figures import Panel, Point
from methods import (
    CRITERIA,
    OURS,
    PAPER,
    WHOLE,
    Results,
    accuracies,
    add_methods,
    norm_of,
    row_results,
    settings,
    usable,
)
from store import Grid, Record
from tables import Table, number, percent
from trials import CIFAR10, QUICK_SAMPLES, Bench, Trial, bench_of, groups

ACTIVATIONS = ("relu", "tanh", "softsign", "elu", "selu", "leakyrelu", "hardswish")
NAMES = {
    "relu": "ReLU",
    "softsign": "SoftSign",
    "elu": "ELU",
    "selu": "SELU",
    "leakyrelu": "LeakyReLU",
}
PUBLISHED = {
    "tanh": (90.72, 67.81, 81.32),
    "softsign": (91.14, 76.98, 87.18),
    "elu": (91.25, 77.73, 89.68),
    "selu": (90.47, 25.17, 80.28),
    "leakyrelu": (93.89, 92.10, 93.46),
    "hardswish": (91.93, 88.30, 91.72),
}
CONVOLUTIONS = 13
# Of 64 64 128 128 256 256 256 and six times 512 the paper keeps 32 64 128 128 and nine times 256.
HALVED = (0, *range(7, 13))
METHODS = (*PAPER, *OURS)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=existing, nargs="+", metavar="MODEL.onnx")
    parser.add_files()
    add_methods(parser, METHODS)
    parser.add_quick(f"the first model, the first {QUICK_SAMPLES} images")
    return parser.parse_args()


def activation(model: Path) -> str:
    """Return the activation that a file is named after."""
    found = [each for each in model.stem.split("_") if each in ACTIVATIONS]
    if len(found) != 1:
        sys.exit(f"{model.name}: its name must hold one of {', '.join(ACTIVATIONS)}")
    return found[0]


def widths(model: Path) -> tuple[str, ...]:
    """Say which channels are kept, as options of ``nmcore compress``."""
    found = groups(model)
    if len(found) < CONVOLUTIONS:
        sys.exit(f"{model.name}: {len(found)} groups of channels; VGG-16 has {CONVOLUTIONS}")
    halved = [found[place] for place in HALVED]
    keep = (f"{glob.escape(name)}={width // 2}" for name, width in halved)
    return tuple(word for each in keep for word in ("--keep", each))


def measure(bench: Bench, models: Sequence[Path], methods: Sequence[str]) -> None:
    """Fill every cell."""
    for model in models:
        cell = {"activation": activation(model), "batch norm": norm_of(model)}
        bench.run(Trial(model), {**cell, "method": WHOLE})
        for setting in settings(model, cell, widths(model)):
            setting.run(bench, methods)


def outcome(records: Sequence[Record]) -> Outcome:
    """Write the table and its picture."""
    grid = Grid(records)
    rows: list[list[str]] = []
    panels: list[Panel] = []
    for norm, criteria in CRITERIA.items():
        for criterion in criteria:
            found = measured(grid, norm, criterion)
            rows += [row(name, norm, criterion, results) for name, results in found.items()]
            if found:
                panels.append(panel(f"batch norm {norm}, {criterion}", found))
    headers = ["activation", "batch norm", "criterion", "baseline", "prune", "merge", "gain", *OURS]
    table = Table([*headers, "paper: baseline", "prune", "merge", "gain"], rows)
    return Outcome([table, sizes(grid)], panels)


def measured(grid: Grid, norm: str, criterion: str) -> dict[str, Results]:
    """Return what was found for each activation, the whole network first."""
    found = {}
    for name in (each for each in ACTIVATIONS if each in grid.values("activation")):
        cell = {"activation": name, "batch norm": norm}
        results = row_results(grid, METHODS, criterion, **cell)
        if results["prune"] or results["merge"]:
            found[name] = {WHOLE: grid.find(**cell, method=WHOLE), **results}
    return found


def row(name: str, norm: str, criterion: str, results: Results) -> list[str]:
    """Write one row, the paper's figures at its end."""
    compressed = {method: results[method] for method in METHODS}
    baseline = percent(results[WHOLE])
    return [title(name), norm, criterion, baseline, *accuracies(compressed), *paper(name)]


def panel(caption: str, found: Mapping[str, Results]) -> Panel:
    """Draw a dot for each method and activation."""
    curves: dict[str, list[Point]] = {}
    for name, results in found.items():
        for method, result in results.items():
            if result is not None:
                curves.setdefault(method, []).append((title(name), result["top1"]))
    return Panel(caption, curves, "")


def title(name: str) -> str:
    """Write an activation as the paper does."""
    return NAMES.get(name, name.capitalize())


def paper(name: str) -> list[str]:
    """Return what the paper's table says; nothing of ReLU, which it leaves out."""
    if name not in PUBLISHED:
        return [""] * 4
    baseline, prune, merge = PUBLISHED[name]
    return [f"{baseline:.2f}", f"{prune:.2f}", f"{merge:.2f}", f"{merge - prune:+.2f}"]


def sizes(grid: Grid) -> Table:
    """Write parameters and MACs before and after; they are the same for every activation."""
    rows = []
    for norm, (criterion, *_) in CRITERIA.items():
        for results in list(measured(grid, norm, criterion).values())[:1]:
            both = results[WHOLE], results["merge"]
            counts = [number(each, what) for what in ("params", "macs") for each in both]
            rows.append([norm, *counts])
    return Table(["batch norm", "parameters", "after", "MACs", "after"], rows)


def main() -> None:
    """Measure, print, and write beside the JSON."""
    options = parse()
    bench = bench_of(options, CIFAR10)
    models = options.models[: 1 if options.quick else None]
    measure(bench, models, usable(options.method, bench))
    deliver(outcome(bench.store.records), bench.store.path)


if __name__ == "__main__":
    main()
