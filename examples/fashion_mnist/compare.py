"""Compress the two networks of this folder by every method and print what became of them.

    python compare.py

This is what ``make example`` runs. It takes under a minute on two cores and leaves no files behind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nmcore
from nmcore.cli import terminal
from nmcore.data.loading import load
from nmcore.evaluation.evaluate import Evaluation, evaluate

HERE = Path(__file__).parent
MODELS = ("lenet5.onnx", "lenet5_bn.onnx")
RATIOS = (0.25, 0.5, 0.7)
INPUTS: dict[str, Any] = {"scale": 255, "mean": (0.2860,), "std": (0.3530,)}
METHODS: dict[str, dict[str, Any]] = {
    "prune": {"method": "prune"},
    "merge": {"method": "merge"},
    "default": {},
    "default with data": {"data": HERE / "calibration_256.npz"},
}
# Networks this small gain nothing from an accelerator.
PROVIDERS = ("cpu",)


def compressed(model: Path, ratio: float, folder: Path) -> Iterator[Path]:
    """Write ``model`` without the share ``ratio`` of its channels, once for each method."""
    for name, options in METHODS.items():
        # Whoever gives inputs also says how they are normalised; the synthetic ones follow it too.
        preparation = INPUTS if "method" not in options else {}
        result = nmcore.compress(model, ratio=ratio, providers=PROVIDERS, **options, **preparation)
        target = folder / f"{model.stem}_{ratio}_{name}.onnx"
        result.save(target)
        yield target


def measured(models: list[Path]) -> list[Evaluation]:
    """Run models on the 1,000 test images."""
    return evaluate(models, load(HERE / "test_1000.npz", **INPUTS), providers=PROVIDERS, runs=1)


def row(model: str, removed: float, results: list[Evaluation]) -> list[str]:
    """Write one line of the table; the sizes are the first result's, as widths are the same.

    The default may add a few biases to them.
    """
    cost = [terminal.number(results[0].params), terminal.number(results[0].macs)]
    accuracies = [terminal.percent(result.top1) for result in results]
    blanks = [""] * (len(METHODS) - len(accuracies))
    return [model, f"{100 * removed:.0f} %", *cost, *accuracies, *blanks]


def main() -> None:
    """Print top-1 on ``test_1000.npz`` for each network, share of channels and method."""
    rows = []
    jobs = [(name, ratio) for name in MODELS for ratio in (0, *RATIOS)]
    with tempfile.TemporaryDirectory() as folder:
        for name, ratio in terminal.track("compressing", jobs):
            model = HERE / name
            models = list(compressed(model, ratio, Path(folder))) if ratio else [model]
            rows.append(row("" if ratio else name, ratio, measured(models)))
    print("Top-1 % on 1,000 test images of Fashion-MNIST, nothing retrained:\n")
    headers = ["network", "channels removed", "parameters", "MACs", *METHODS]
    terminal.show(terminal.console(), terminal.table(headers, rows))
    print("\nThe first line of a network is the network as it was.")


if __name__ == "__main__":
    main()
