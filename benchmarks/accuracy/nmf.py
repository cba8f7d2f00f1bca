r"""The reviewers' baseline: non-negative matrix factorisation beside merging, on Fashion-MNIST.

    python benchmarks/accuracy/nmf.py --model path/to/lenet300100_fashion_mnist.onnx \
        --data path/to/fashion_mnist_test.npz --calibration path/to/fashion_mnist_calib.npz \
        --json nmf.json

*Free atoms* is the authors' reading: with the negative weights set to zero, ``W ~ left @ right``;
the layer's rows become ``right`` and the next layer absorbs ``left``. It starts at random, so the
figure is a mean over seeds. *nmf* is that of ``nmcore compress``, whose atoms are trained rows.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from arguments import Parser, existing, share
from delivery import Outcome, deliver
from figures import Panel, Point
from methods import OURS, PAPER, WHOLE, Setting, criterion_of, usable
from numpy.typing import NDArray
from onnx import numpy_helper
from store import Grid, Record, Result, digest
from tables import Table, number, percent
from trials import FASHION_MNIST, QUICK_SAMPLES, Bench, Trial, bench_of

import nmcore
from nmcore.arrays.nmf import factorize

FREE = "nmf, free atoms"
METHODS = (*PAPER, "nmf", *OURS)
MERGE = ("--threshold", "0.45")
CRITERION = "l1"
SEEDS = 10
RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
# Of the paper's reply, which names no share: its figure for merging is that of 50 %, l1.
PUBLISHED = {"merge": 88.69, FREE: 15.80}
PUBLISHED_AT = 50

Weights = NDArray[np.floating[Any]]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=existing, required=True, metavar="FILE.onnx")
    parser.add_files()
    parser.add_argument(
        "--ratio", type=share, nargs="+", default=RATIOS, metavar="R", help="shares to remove"
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="random starts to average over")
    parser.add_quick(f"half the channels, two seeds, the first {QUICK_SAMPLES} images")
    return parser.parse_args()


def measure(bench: Bench, model: Path, ratios: Sequence[float], seeds: int) -> None:
    """Fill every cell."""
    bench.run(Trial(model), {"method": WHOLE})
    for ratio in ratios:
        cell = {"removed": f"{100 * ratio:.0f}"}
        setting = Setting(model, cell, ("--ratio", f"{ratio:g}"), CRITERION, MERGE)
        setting.run(bench, usable(METHODS, bench))
        for seed in range(seeds):
            free_atoms(bench, model, ratio, seed)


def free_atoms(bench: Bench, model: Path, ratio: float, seed: int) -> None:
    """Factorise every layer but the last, write the model that results, and evaluate it."""

    def run() -> Result:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / model.name
            onnx.save(factorized(onnx.load(model), ratio, seed), path)
            return bench.judge.evaluate(path)

    key = {
        "ratio": ratio,
        "nmcore": nmcore.__version__,
        "model_sha256": digest(model),
        **bench.judge.key(),
    }
    cell = {"removed": f"{100 * ratio:.0f}", "method": FREE, "seed": str(seed)}
    bench.store.once(cell, key, run)


def factorized(model: onnx.ModelProto, ratio: float, seed: int) -> onnx.ModelProto:
    """Replace each hidden layer's rows by non-negative atoms that the next layer recombines.

    The bias is one more column of the rows, as in merging without batch norm.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    *hidden, last = [node for node in model.graph.node if node.op_type == "Gemm"]
    mixture: Weights | None = None
    for node in hidden:
        weight, bias = (numpy_helper.to_array(tensors[name]) for name in node.input[1:3])
        rows = np.column_stack([weight, bias]).astype(np.float64)
        left, right = factorize(rows, int(len(rows) * (1 - ratio) + 0.5), seed=seed)
        _put(tensors[node.input[1]], _absorbed(right[:, :-1], mixture))
        _put(tensors[node.input[2]], right[:, -1])
        mixture = left
    final = tensors[last.input[1]]
    _put(final, _absorbed(numpy_helper.to_array(final), mixture))
    del model.graph.value_info[:]
    return model


def _absorbed(weight: Weights, mixture: Weights | None) -> Weights:
    return weight if mixture is None else weight @ mixture


def _put(tensor: onnx.TensorProto, array: Weights) -> None:
    tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), tensor.name))


def outcome(records: list[Record]) -> Outcome:
    """Write the table and its picture."""
    grid = Grid(records)
    whole = grid.find(method=WHOLE)
    curves: dict[str, list[Point]] = {}
    rows = []
    for removed in sorted(map(int, grid.values("removed"))):
        cell = {"removed": str(removed)}
        results = {
            method: grid.find(**cell, criterion=criterion_of(method, CRITERION), method=method)
            for method in METHODS
        }
        free = [
            each.result["top1"]
            for each in records
            if each.cell.get("method") == FREE and each.cell["removed"] == str(removed)
        ]
        averaged = {"top1": float(np.mean(free))} if free else None
        for method, result in {**results, FREE: averaged}.items():
            if result is not None:
                curves.setdefault(method, []).append((removed, result["top1"]))
        spread = f"{averaged['top1']:.2f} ({min(free):.2f} to {max(free):.2f})" if averaged else ""
        published = [f"{PUBLISHED[each]:.2f}" for each in ("merge", FREE)]
        rows.append(
            [
                f"{removed} %",
                number(results["merge"], "params"),
                *map(percent, results.values()),
                spread,
                *(published if removed == PUBLISHED_AT else ["", ""]),
            ]
        )
    headers = ["removed", "parameters", *METHODS, f"{FREE}: mean (range)"]
    title = f"LeNet-300-100, {CRITERION}: {percent(whole)} before"
    table = Table([*headers, "paper: merge", "paper: nmf"], rows, title)
    return Outcome([table], [Panel(title, curves, "channels removed, %")])


def main() -> None:
    """Measure, print, and write beside the JSON."""
    options = parse()
    ratios, seeds = options.ratio, options.seeds
    if options.quick:
        ratios, seeds = [PUBLISHED_AT / 100], 2
    bench = bench_of(options, FASHION_MNIST)
    measure(bench, options.model, ratios, seeds)
    deliver(outcome(bench.store.records), bench.store.path)


if __name__ == "__main__":
    main()
