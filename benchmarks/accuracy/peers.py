r"""Other programs' choices of channels, with and without compensation.

    python benchmarks/accuracy/peers.py path/to/vgg16_relu_cifar10_bn.onnx \
        path/to/resnet56_cifar10_bn.onnx --data path/to/cifar10_test.npz \
        --calibration path/to/cifar10_calib.npz --json peers.json

torch-pruning (``pip install torch-pruning``, and ``pip install '.[train]'`` for PyTorch) scores the
channels of the same network by its importances; what it keeps comes into ``nmcore compress`` as a
plan. *prune* is then what torch-pruning itself would leave, and the other columns what nmcore makes
of the same channels. Below stand nmcore's own choices, and onnxsim's structured pruning (``pip
install '.[bench]'``), which decides by itself where it cuts. Where one of the two is not installed,
a line says so and its rows stay empty.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from arguments import Parser, existing, share
from delivery import Outcome, deliver
from methods import OURS, PAPER, WHOLE, usable
from store import Grid, Record
from tables import Table, percent, size
from trials import CIFAR10, QUICK_SAMPLES, Bench, Trial, bench_of, groups

METHODS = (*PAPER, *OURS)
IMPORTANCES = ("magnitude", "fpgm", "lamp")
ONNXSIM = "onnxsim"
L1, ERROR = "nmcore, l1", "nmcore, error"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=existing, nargs="+", metavar="MODEL.onnx")
    parser.add_files()
    parser.add_argument(
        "--ratio", type=share, nargs="+", default=[0.3, 0.5], metavar="R", help="shares to remove"
    )
    parser.add_argument(
        "--importance",
        nargs="+",
        choices=IMPORTANCES,
        default=["magnitude"],
        help="of torch-pruning; default: magnitude",
    )
    parser.add_quick(f"one model, one share, the first {QUICK_SAMPLES} images")
    return parser.parse_args()


def installed(importances: Sequence[str]) -> list[str]:
    """Say which of the other programs' choices can be had here."""
    found = []
    if find_spec("torch_pruning") is None or find_spec("torch") is None:
        print("torch-pruning is not installed: its rows are left out", file=sys.stderr)
    else:
        found += [f"torch-pruning, {each}" for each in importances]
    if find_spec("onnxsim") is None:
        print("onnxsim is not installed: its rows are left out", file=sys.stderr)
    else:
        found.append(ONNXSIM)
    return found


def measure(bench: Bench, model: Path, ratio: float, others: Sequence[str]) -> None:
    """Fill the rows of one network at one share."""
    cell = {"model": model.stem, "removed": f"{100 * ratio:.0f}"}
    methods = usable(METHODS, bench)
    names = [name for name, _ in groups(model)]
    only = [word for name in names for word in ("--only", name)]
    for method in methods:
        own = () if method in OURS else ("--criterion", "l1")
        trial = Trial(model, method, (*own, "--ratio", f"{ratio:g}", *only))
        bench.run(trial, {**cell, "chosen by": ERROR if method in OURS else L1, "method": method})
    for other in others:
        if other == ONNXSIM:
            trial = Trial(model, ONNXSIM, (f"{ratio:g}",))
            bench.run(trial, {**cell, "chosen by": other, "method": "prune"})
            continue
        with tempfile.TemporaryDirectory() as folder:
            plan = Path(folder) / f"{model.stem}_{cell['removed']}.json"
            plan.write_text(json.dumps({"groups": keep_sets(model, ratio, other)}))
            for method in methods:
                trial = Trial(model, method, plan=plan)
                bench.run(trial, {**cell, "chosen by": other, "method": method})


def keep_sets(model: Path, ratio: float, chosen_by: str) -> dict[str, list[int]]:
    """Ask torch-pruning for the channels that each group of the network keeps.

    As many stay as ``nmcore compress --ratio`` keeps. Channels of residual sums are left alone.
    """
    import torch
    import torch_pruning
    from replica import Replica

    scores = {
        "magnitude": torch_pruning.importance.GroupMagnitudeImportance(p=2),
        "fpgm": torch_pruning.importance.FPGMImportance(),
        "lamp": torch_pruning.importance.LAMPImportance(p=2),
    }[chosen_by.rpartition(" ")[2]]
    network = Replica(model)
    graph = torch_pruning.DependencyGraph()
    graph.build_dependency(network, example_inputs=torch.zeros(2, 3, 32, 32))
    kept = {}
    for name, width in groups(model):
        module = network.of_node[name]
        cut = graph.get_pruner_of_module(module).prune_out_channels
        score = scores(graph.get_pruning_group(module, cut, list(range(width))))
        count = max(1, int(width * (1 - ratio) + 0.5))
        kept[name] = sorted(torch.topk(score, count).indices.tolist())
    return kept


def outcome(records: Sequence[Record]) -> Outcome:
    """Write a table for each network."""
    grid = Grid(records)
    tables = []
    for model in grid.values("model"):
        whole = grid.find(model=model, method=WHOLE)
        rows = []
        for removed in sorted(map(int, grid.values("removed"))):
            for chooser in grid.values("chosen by"):
                cell = {"model": model, "removed": str(removed), "chosen by": chooser}
                results = [grid.find(**cell, method=method) for method in METHODS]
                first = next((each for each in results if each is not None), None)
                if first is not None:
                    row = [chooser, f"{removed} %", *size(first)]
                    rows.append([*row, *map(percent, results)])
        params, macs = size(whole)
        title = f"{model}: {percent(whole)} before, {params} parameters, {macs} MACs"
        headers = ["channels chosen by", "removed", "parameters", "MACs", *METHODS]
        tables.append(Table(headers, rows, title))
    return Outcome(tables)


def main() -> None:
    """Measure, print, and write beside the JSON."""
    options = parse()
    bench = bench_of(options, CIFAR10)
    others = installed(options.importance)
    models, ratios = options.models, options.ratio
    if options.quick:
        models, ratios = models[:1], ratios[:1]
    for model in models:
        bench.run(Trial(model), {"model": model.stem, "method": WHOLE})
        for ratio in ratios:
            measure(bench, model, ratio, others)
    deliver(outcome(bench.store.records), bench.store.path)


if __name__ == "__main__":
    main()
