"""LeNet-300-100 on Fashion-MNIST: prune and merge by three criteria, as in the paper.

    python benchmarks/accuracy/lenet300100.py --model path/to/lenet300100_fashion_mnist.onnx \
        --data path/to/fashion_mnist_test.npz

The weights are those published with the paper; pixels are ``(x / 255 - 0.5) / 0.5``.
"""

from __future__ import annotations

from pathlib import Path

from trials import Bench, Parser, Trial, existing, percent, print_table, size

PREPARATION = ("--scale", "255", "--mean", "0.5", "--std", "0.5")
CRITERIA = ("l1", "l2", "l2-gm")
RATIOS = ("0.5", "0.6", "0.7", "0.8")
MERGE = ("--method", "merge", "--threshold", "0.45")
PRUNE = ("--method", "prune")


def line(bench: Bench, model: Path, criterion: str, ratio: str) -> list[str]:
    """Measure one criterion and ratio."""
    common = ("--criterion", criterion, "--ratio", ratio)
    prune = bench.run(Trial(model, (*PRUNE, *common)))
    merge = bench.run(Trial(model, (*MERGE, *common)))
    gain = merge["top1"] - prune["top1"]
    removed = f"{100 * float(ratio):.0f} %"
    return [criterion, removed, *size(merge), percent(prune), percent(merge), f"{gain:+.2f}"]


def main() -> None:
    """Print the table."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=existing, required=True, metavar="FILE.onnx")
    parser.add_files()
    options = parser.parse_args()
    bench = Bench(options.data, PREPARATION, options.json)
    whole = bench.run(Trial(options.model))
    rows = [line(bench, options.model, c, r) for c in CRITERIA for r in RATIOS]
    print(f"top-1 % on {whole['n']:,} images; uncompressed {percent(whole)}\n")
    print_table(["criterion", "removed", "parameters", "MACs", "prune", "merge", "gain"], rows)


if __name__ == "__main__":
    main()
