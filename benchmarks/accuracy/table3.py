r"""Table 3: VGG-16 and ResNet-34 on ImageNet.

    python benchmarks/accuracy/table3.py --json table3.json
    python benchmarks/accuracy/table3.py --network resnet34 --model path/to/resnet34.onnx \
        --images path/to/pictures --labels path/to/labels.json --calibration path/to/others \
        --json table3.json

Without a model, the parameters alone, on graphs of the same shape with random weights. With one,
top-1 and top-5 where pictures have labels, and in any case the share of pictures on which it gives
the original's top class. Of VGG-16 the last convolution is cut, and the fully connected layer
behind the flattening absorbs Z; of ResNet-34 the inner convolution of every block.
"""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import onnx
from arguments import Parser, existing, folder, results_file
from delivery import Outcome, deliver
from figures import Panel, Point
from imagenet import PREPARATION, PictureJudge, Pictures
from methods import (
    OURS,
    PAPER,
    WHOLE,
    Results,
    Setting,
    removed_panel,
    row_results,
    usable,
)
from shapes import BUILDERS
from store import Grid, Record, Result, Store
from tables import Table, millions, number, percent
from trials import QUICK_INPUTS, Bench, Trial, groups

import nmcore
from nmcore.plugins import registry

CRITERION = "l1"
METHODS = (*PAPER, *OURS)
RANDOM, GIVEN = "random", "given"
QUICK_PICTURES = 32


@dataclass(frozen=True)
class Network:
    """What the paper does with a network, and what came out there.

    Attributes
    ----------
    title : str
        Its name.
    whole : tuple
        Top-1, top-5 and parameters before.
    published : dict
        Percent removed: top-1 of prune and merge, top-5 of both, parameters.
    only : int or None
        Which group of channels is cut, counted from the input; None for all but residual sums.
    """

    title: str
    whole: tuple[float, float, str]
    published: dict[int, tuple[float, float, float, float, str]]
    only: int | None = None

    def size(self, model: Path, removed: int) -> tuple[str, ...]:
        """Say how much is removed, as options of ``nmcore compress``."""
        found = groups(model)
        if self.only is not None:
            if len(found) <= self.only:
                sys.exit(f"{model.name}: {len(found)} groups are too few for {self.title}")
            found = [found[self.only]]
        kept = [f"{glob.escape(name)}={kept_of(width, removed)}" for name, width in found]
        return tuple(word for each in kept for word in ("--keep", each))

    def sizes(self, quick: bool) -> list[int]:
        """Return the percentages that are removed; in a quick look only the first."""
        return list(self.published)[: 1 if quick else None]


def kept_of(width: int, removed: int) -> int:
    """Return how many channels stay, to the nearest.

    >>> kept_of(512, 70)
    154
    """
    return (width * (100 - removed) + 50) // 100


NETWORKS = {
    "vgg16": Network(
        "VGG-16",
        (73.36, 91.51, "138M"),
        {
            50: (57.00, 61.18, 81.05, 84.90, "85M"),
            60: (47.70, 53.78, 73.61, 80.44, "75M"),
            70: (34.75, 43.26, 60.06, 71.62, "64M"),
        },
        only=12,
    ),
    "resnet34": Network(
        "ResNet-34",
        (73.31, 91.42, "21M"),
        {
            10: (62.08, 66.30, 84.85, 87.35, "19M"),
            20: (40.66, 53.95, 67.32, 78.66, "17M"),
            30: (12.52, 35.56, 29.43, 61.07, "15M"),
        },
    ),
}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, help="which one --model is")
    parser.add_argument("--model", type=existing, metavar="FILE.onnx", help="trained weights")
    parser.add_argument("--images", type=folder, metavar="DIR", help="pictures to judge by")
    parser.add_argument(
        "--labels", type=existing, metavar="FILE", help="their classes: JSON, or lines of both"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use N pictures, evenly spread")
    parser.add_argument(
        "--calibration", type=folder, metavar="DIR", help="other pictures, for moments+data"
    )
    parser.add_results()
    parser.add_quick(f"one size each, {QUICK_PICTURES} pictures")
    options = parser.parse_args()
    if options.model and not (options.network and options.images):
        parser.error("--model needs --network and --images")
    return options


def count(options: argparse.Namespace, store: Store) -> None:
    """Fill the cells of parameters, on graphs with random weights that never leave the memory."""
    for name, network in NETWORKS.items():
        if options.network not in (None, name):
            continue
        model = cache(BUILDERS[name])
        for removed in (0, *network.sizes(options.quick)):
            cell = {"network": network.title, "weights": RANDOM, "removed": str(removed)}
            key = {"nmcore": nmcore.__version__, "criterion": CRITERION}
            store.once(cell, key, partial(counted, network, model, removed))


def counted(network: Network, model: Callable[[], onnx.ModelProto], removed: int) -> Result:
    """Remove channels and count what is left; these graphs have no batch norms."""
    graph = registry.open_graph(model())
    found = [group for group in graph.groups if len(group.producers) == 1]
    found = found if network.only is None else [found[network.only]]
    keep = {group.name: kept_of(group.width, removed) for group in found}
    result = nmcore.compress(model(), method="prune", criterion=CRITERION, keep=keep)
    return {"params": result.after.params, "macs": result.after.macs}


def judge(options: argparse.Namespace, store: Store) -> None:
    """Fill the cells of accuracy, on the model that was given."""
    limit = QUICK_PICTURES if options.quick else options.limit
    pictures = Pictures(options.images, options.labels, limit)
    inputs = QUICK_INPUTS if options.quick else None
    who = PictureJudge(options.model, pictures)
    bench = Bench(who, PREPARATION, options.calibration, store, inputs)
    network = NETWORKS[options.network]
    cell = {"network": network.title, "weights": GIVEN}
    bench.run(Trial(options.model), {**cell, "method": WHOLE})
    for removed in network.sizes(options.quick):
        size = network.size(options.model, removed)
        setting = Setting(options.model, {**cell, "removed": str(removed)}, size, CRITERION)
        setting.run(bench, usable(METHODS, bench))


def outcome(records: Sequence[Record]) -> Outcome:
    """Write the tables and the picture."""
    grid = Grid(records)
    panels = [size_panel(grid, network) for network in NETWORKS.values()]
    accuracy: list[list[str]] = []
    for network in NETWORKS.values():
        cell = {"network": network.title, "weights": GIVEN}
        whole = grid.find(**cell, method=WHOLE)
        if whole is None:
            continue
        found = {
            removed: row_results(grid, METHODS, CRITERION, **cell, removed=str(removed))
            for removed in network.published
        }
        for measure in (each for each in ("top1", "top5", "agreement") if each in whole):
            accuracy += [
                accuracy_row(network, measure, removed, whole, results)
                for removed, results in found.items()
            ]
        if "top1" in whole:
            panels.append(removed_panel(network.title, found, whole))
    tables = [parameters(grid)]
    if accuracy:
        headers = ["network", "removed", "measure, %", "before", *METHODS]
        tables.append(Table([*headers, "paper: before", "prune", "merge"], accuracy))
    return Outcome(tables, [panel for panel in panels if any(panel.curves.values())])


def counted_sizes(grid: Grid, network: Network) -> dict[int, tuple[Result, str]]:
    """Return, for each percentage removed, what was counted and what the paper says."""
    sizes = {0: network.whole[2], **{r: each[4] for r, each in network.published.items()}}
    cell = {"network": network.title, "weights": RANDOM}
    found = {removed: grid.find(**cell, removed=str(removed)) for removed in sizes}
    return {r: (result, sizes[r]) for r, result in found.items() if result is not None}


def parameters(grid: Grid) -> Table:
    """Write what is left of the networks, beside the paper's figures."""
    rows = []
    for network in NETWORKS.values():
        for removed, (result, published) in counted_sizes(grid, network).items():
            short = millions(result["params"], 0)
            counts = [number(result, "params"), short, published, number(result, "macs")]
            rows.append([network.title, f"{removed} %", *counts])
    return Table(["network", "removed", "parameters", "in short", "paper", "MACs"], rows)


def size_panel(grid: Grid, network: Network) -> Panel:
    """Draw what is left of a network, beside the paper's figures."""
    curves: dict[str, list[Point]] = {"counted": [], "paper": []}
    for removed, (result, published) in counted_sizes(grid, network).items():
        curves["counted"].append((float(removed), result["params"] / 1e6))
        curves["paper"].append((float(removed), float(published.removesuffix("M"))))
    return Panel(network.title, curves, "channels removed, %", "parameters, millions")


def accuracy_row(
    network: Network, measure: str, removed: int, whole: Result, results: Results
) -> list[str]:
    """Write one measure of one size."""
    names = {"top1": "top-1", "top5": "top-5", "agreement": "agreement"}
    ours = [percent(result, measure) for result in results.values()]
    paper = ["", "", ""]
    if measure != "agreement":
        place = 0 if measure == "top1" else 1
        prune, merge = network.published[removed][2 * place : 2 * place + 2]
        paper = [f"{each:.2f}" for each in (network.whole[place], prune, merge)]
    start = [network.title, f"{removed} %", names[measure], percent(whole, measure)]
    return [*start, *ours, *paper]


def main() -> None:
    """Measure, print, and write beside the JSON."""
    options = parse()
    store = Store(results_file(options))
    if options.model:
        judge(options, store)
    else:
        count(options, store)
    deliver(outcome(store.records), store.path)


if __name__ == "__main__":
    main()
