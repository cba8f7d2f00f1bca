"""Any model: top-1 by method and size, as a table, as JSON, as a picture.

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

from peers import PEERS
from trials import Bench, Parser, Record, Trial, existing, percent, print_table, size

METHODS = ("prune", "merge", "moments", "moments+data")
# They look at weights alone, so they are not told how inputs are normalised.
WITHOUT_INPUTS = ("prune", "merge", "ridge", "nmf")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=existing, nargs="+", metavar="MODEL")
    parser.add_files()
    parser.add_argument("--calibration", type=existing, metavar="FILE.npz", help="unlabelled x")
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
        return Trial(model, (share,), peer=method)
    name, _, data = method.partition("+")
    words = ["--method", name, "--ratio" if options.ratio else "--macs", share]
    if data:
        words += ["--data", str(options.calibration)]
    if name not in WITHOUT_INPUTS:
        words += preparation(options)
    return Trial(model, (*words, *shlex.split(options.options)))


def plot(path: Path, curves: dict[str, list[Record]]) -> None:
    """Draw top-1 over MACs, a line for each model and method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, records in curves.items():
        points = sorted((record["macs"] or record["params"], record["top1"]) for record in records)
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel="MACs", ylabel="top-1 %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def measure(
    bench: Bench, shares: Sequence[str], options: argparse.Namespace
) -> tuple[list[list[str]], dict[str, list[Record]]]:
    """Run everything; return the table's rows and the curves of the picture."""
    rows: list[list[str]] = []
    curves: dict[str, list[Record]] = {}
    for model in options.models:
        whole = bench.run(Trial(model))
        rows.append([model.name, "as it is", "", *size(whole), percent(whole)])
        for method in options.method:
            label = method if len(options.models) == 1 else f"{model.stem}, {method}"
            records = [bench.run(trial(model, method, share, options)) for share in shares]
            curves[label] = [whole, *records]
            for share, record in zip(shares, records, strict=True):
                rows.append([model.name, method, share, *size(record), percent(record)])
    return rows, curves


def main() -> None:
    """Print the table and draw the picture if asked."""
    options = parse()
    bench = Bench(options.data, preparation(options), options.json)
    rows, curves = measure(bench, options.ratio or options.macs, options)
    share = "ratio" if options.ratio else "macs"
    print_table(["model", "method", share, "parameters", "MACs", "top-1 %"], rows)
    if options.plot:
        plot(options.plot, curves)


if __name__ == "__main__":
    main()
