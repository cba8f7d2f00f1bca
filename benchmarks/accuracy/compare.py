r"""Any model: top-1 by method and size, as a table, as JSON, as a picture.

    python benchmarks/accuracy/compare.py path/to/model.onnx --data path/to/test.npz \
        --calibration path/to/inputs.npz --macs 0.7 0.5 --scale 255 --mean 0.5 --std 0.25

A method is one of ``nmcore compress --method``; ``+data`` behind it gives it ``--calibration``.
``onnxsim``, where it is installed (``pip install '.[bench]'``), is its structured pruning.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from arguments import Parser, existing
from figures import Panel, Point, draw
from methods import OURS, PAPER
from others import PEERS
from store import Result, Store, digest
from tables import Table, percent, size
from trials import Bench, TestSet, Trial

METHODS = (*PAPER, *OURS)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=existing, nargs="+", metavar="MODEL")
    parser.add_files()
    parser.add_argument("--method", nargs="+", default=[], help=f"default: {' '.join(METHODS)}")
    size_of = parser.add_mutually_exclusive_group(required=True)
    size_of.add_argument("--ratio", nargs="+", metavar="R", help="shares of channels to remove")
    size_of.add_argument("--macs", nargs="+", metavar="F", help="shares of MACs to keep at most")
    for name in ("--scale", "--mean", "--std"):
        parser.add_argument(
            name, nargs="+", metavar="S", help="inputs are (x / scale - mean) / std"
        )
    parser.add_argument(
        "--options", default="", metavar="'...'", help="more for every nmcore compress"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="needs the extra [report]")
    options = parser.parse_args()
    if not options.method:
        options.method = [m for m in METHODS if options.calibration or not m.endswith("+data")]
    if not options.calibration and any(method.endswith("+data") for method in options.method):
        parser.error("a method with +data needs --calibration FILE.npz")
    if options.calibration and digest(options.calibration) == digest(options.data):
        parser.error("--calibration must not be the test set")
    if options.macs and PEERS.keys() & set(options.method):
        parser.error(f"{', '.join(PEERS)} take a --ratio, not --macs")
    if options.plot and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install '.[report]'")
    return options


def preparation(options: argparse.Namespace) -> tuple[str, ...]:
    """How inputs are normalised, as options of ``nmcore``."""
    given = [(f"--{name}", getattr(options, name)) for name in ("scale", "mean", "std")]
    return tuple(word for name, values in given if values for word in (name, *values))


def trial(model: Path, method: str, share: str, options: argparse.Namespace) -> Trial:
    """One compression, in the words of the command line."""
    if method in PEERS:
        return Trial(model, method, (share,))
    budget = ("--ratio" if options.ratio else "--macs", share)
    return Trial(model, method, (*budget, *shlex.split(options.options)))


def panel(curves: dict[str, list[Result]]) -> Panel:
    """Return top-1 over MACs, a line for each model and method."""
    points: dict[str, list[Point]] = {
        name: sorted((float(each["macs"] or each["params"]), each["top1"]) for each in results)
        for name, results in curves.items()
    }
    return Panel("", points, "MACs")


def measure(
    bench: Bench, shares: Sequence[str], options: argparse.Namespace
) -> tuple[list[list[str]], dict[str, list[Result]]]:
    """Run everything; return the table's rows and the curves of the picture."""
    rows: list[list[str]] = []
    curves: dict[str, list[Result]] = {}
    for model in options.models:
        whole = bench.run(Trial(model))
        rows.append([model.name, "as it is", "", *size(whole), percent(whole)])
        for method in options.method:
            label = method if len(options.models) == 1 else f"{model.stem}, {method}"
            results = [bench.run(trial(model, method, share, options)) for share in shares]
            curves[label] = [whole, *results]
            for share, result in zip(shares, results, strict=True):
                rows.append([model.name, method, share, *size(result), percent(result)])
    return rows, curves


def main() -> None:
    """Print the table and draw the picture if asked."""
    options = parse()
    inputs = preparation(options)
    judge = TestSet(options.data, inputs)
    bench = Bench(judge, inputs, options.calibration, Store(options.json))
    rows, curves = measure(bench, options.ratio or options.macs, options)
    share = "ratio" if options.ratio else "macs"
    headers = ["model", "method", share, "parameters", "MACs", "top-1 %"]
    print(Table(headers, rows).markdown())
    if options.plot:
        draw([panel(curves)], options.plot)


if __name__ == "__main__":
    main()
