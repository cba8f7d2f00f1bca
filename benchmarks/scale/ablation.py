r"""Compress a model with the default method less one of its parts, and tell what that costs.

    python benchmarks/scale/ablation.py --json docs/results/ablation.json --add \
        "ResNet-50" resnet50.onnx --without weighing --macs 0.58 --data pictures \
        --judge others --labels labels.csv --mean 123.68 116.779 103.939

Inputs of ``--judge`` are others than those of ``--data``.
"""

from __future__ import annotations

import os

# Before NumPy and onnxruntime start their threads.
os.environ |= dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nmcore
from nmcore.budgets import allocation
from nmcore.calibration import collect
from nmcore.compression import curves, output_error, shrinkage
from nmcore.compression.joint import block_refit
from nmcore.compression.moments import Measured
from nmcore_onnx import measurable


def without_weighing() -> None:
    """Errors count alike, whatever they do to the outputs; those of late layers still more."""
    curves.scales = lambda *_: {}  # type: ignore[assignment]


def without_depth() -> None:
    """Errors of late layers count no more than those of early ones."""
    output_error.LATE = 1.0  # type: ignore[misc]


def without_trades() -> None:
    """Budgets are met greedily; no two groups trade channels afterwards."""
    allocation.exchanged = lambda *_, **__: None  # type: ignore[assignment]


def without_held() -> None:
    """The pull of each layer's fit is what the number of rows makes it."""
    Measured.judges = lambda _: None  # type: ignore[method-assign]


def without_sums() -> None:
    """Layers before a sum do not make up for what it has lost."""
    original = measurable.moments.correcting_once

    def never(weights: Any) -> Any:
        return [
            [measurable.replace(each, residual=None) for each in readings]
            for readings in original(weights)
        ]

    measurable.moments.correcting_once = never


def without_targets() -> None:
    """Layers are fitted to what they give before their channels go."""
    measurable.moments.target = lambda build, current, _, reading: measurable.moments.given(
        build, current, reading, reading.outputs
    )


def without_sequences() -> None:
    """Residual blocks are fitted one by one, and not in sequences afterwards."""
    block_refit.TOGETHER = (1,)


def without_blocks() -> None:
    """Residual blocks are not fitted as a whole."""
    block_refit.STEPS = 0  # type: ignore[misc]


def without_shrinkage() -> None:
    """Channels are chosen by what data show, whatever there is of them."""
    shrinkage.REAL = 0.0  # type: ignore[misc]


def without_supplement() -> None:
    """Few photographs are all that there is."""
    collect.supplemented = lambda calibration, *_, **__: calibration  # type: ignore[assignment]


PARTS: dict[str, Callable[[], None]] = {
    "weighing": without_weighing,
    "depth": without_depth,
    "trades": without_trades,
    "held": without_held,
    "sums": without_sums,
    "targets": without_targets,
    "sequences": without_sequences,
    "blocks": without_blocks,
    "shrinkage": without_shrinkage,
    "supplement": without_supplement,
}


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="what the table calls the model")
    parser.add_argument("model", type=Path)
    parser.add_argument("--without", choices=PARTS, help="the part to leave out")
    parser.add_argument("--method", default="auto", help="instead of the default")
    parser.add_argument("--macs", type=float, default=0.8, help="share to keep [0.8]")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True, help="labelled inputs")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--preprocess")
    parser.add_argument("--scale", type=float)
    parser.add_argument("--mean", type=float, nargs="+")
    parser.add_argument("--std", type=float, nargs="+")
    parser.add_argument("--json", type=Path, help="write the row here")
    parser.add_argument("--add", action="store_true", help="keep the other rows of that file")
    return parser.parse_args(words)


def main() -> None:
    """Measure one model and write its row."""
    words = sys.argv[1:]
    options = parse(words)
    forms = {name: getattr(options, name) for name in ("preprocess", "scale", "mean", "std")}
    forms = {name: value for name, value in forms.items() if value is not None}
    if options.without:
        PARTS[options.without]()
    result = nmcore.compress(
        str(options.model),
        data=options.data,
        macs=options.macs,
        method=options.method,
        providers=("cpu",),
        **forms,
    )
    models = [str(options.model), result.serialize()]
    named = {} if options.labels is None else {"labels": options.labels}
    _, judged = nmcore.evaluate(models, options.judge, providers=("cpu",), runs=1, **named, **forms)
    row = {
        "name": options.name,
        "macs": options.macs,
        "without": options.without or ("" if options.method == "auto" else options.method),
        "printed": result.fidelity.deviation,
        "top1": judged.top1,
        "deviation": judged.deviation,
    }
    print(json.dumps(row), flush=True)
    if options.json is not None:
        rows = json.loads(options.json.read_text()) if options.add else []
        key = ("name", "macs", "without")
        rows = [each for each in rows if [each[k] for k in key] != [row[k] for k in key]]
        options.json.write_text(f"{json.dumps([*rows, row], indent=1)}\n")


if __name__ == "__main__":
    main()
