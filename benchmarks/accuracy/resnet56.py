"""ResNet-56 on CIFAR-10: prune and merge inside the blocks, batch norm kept and folded.

    python benchmarks/accuracy/resnet56.py --model path/to/resnet56_cifar10_bn.onnx \
        --folded path/to/resnet56_cifar10.onnx --data path/to/cifar10_test.npz

The weights are those published with the paper; the first convolution of every block is compressed.
"""

from __future__ import annotations

from pathlib import Path

from trials import Bench, Parser, Trial, existing, percent, print_table, size

PREPARATION = (
    *("--scale", "255", "--mean", "0.4914", "0.4822", "0.4465"),
    *("--std", "0.2023", "0.1994", "0.2010"),
)
# Of 16, 32 and 64 channels: about 20 and 30 percent removed, rounded down as the paper has it.
KEPT = ((12, 25, 51), (11, 22, 44))
MERGE = ("--method", "merge", "--lam", "0.85", "--threshold", "0.1", "--bn-form")
PRUNE = ("--method", "prune")
KEPT_NORM, FOLDED_NORM = "kept, released form", "folded, folded form"


def line(
    bench: Bench, model: Path, norm: str, criterion: str, counts: tuple[int, ...]
) -> list[str]:
    """Measure one graph, criterion and set of widths."""
    keep = [
        word
        for layer, count in enumerate(counts, 1)
        for word in ("--keep", f"/layer{layer}/*conv1/Conv={count}")
    ]
    common = ("--criterion", criterion, *keep)
    form = "released" if norm == KEPT_NORM else "folded"
    prune = bench.run(Trial(model, (*PRUNE, *common)))
    merge = bench.run(Trial(model, (*MERGE, form, *common)))
    widths = "/".join(map(str, counts))
    gain = merge["top1"] - prune["top1"]
    cells = [percent(prune), percent(merge), f"{gain:+.2f}"]
    return [norm, criterion, widths, *size(merge), *cells]


def main() -> None:
    """Print the table."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", type=existing, required=True, metavar="FILE.onnx", help="batch norms as nodes"
    )
    parser.add_argument(
        "--folded", type=existing, metavar="FILE.onnx", help="the same with batch norms folded away"
    )
    parser.add_files()
    options = parser.parse_args()
    bench = Bench(options.data, PREPARATION, options.json)
    graphs = [(options.model, KEPT_NORM, "l1")]
    if options.folded:
        graphs += [(options.folded, FOLDED_NORM, criterion) for criterion in ("l1", "out-norm")]
    whole = bench.run(Trial(options.model))
    rows = [line(bench, *graph, counts) for graph in graphs for counts in KEPT]
    print(f"top-1 % on {whole['n']:,} images; uncompressed {percent(whole)}\n")
    headers = ["batch norm", "criterion", "kept of 16/32/64", "parameters", "MACs"]
    print_table([*headers, "prune", "merge", "gain"], rows)


if __name__ == "__main__":
    main()
