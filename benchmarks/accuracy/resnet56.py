r"""ResNet-56 on CIFAR-10: criteria by shares removed inside the blocks, all methods.

    python benchmarks/accuracy/resnet56.py --model path/to/resnet56_cifar10_bn.onnx \
        --folded path/to/resnet56_cifar10.onnx --data path/to/cifar10_test.npz \
        --calibration path/to/cifar10_calib.npz --json resnet56.json

The weights are those published with the paper; the first convolution of every block is compressed.
"""

from __future__ import annotations

from fractions import Fraction

import sweep
from arguments import Parser, existing
from trials import CIFAR10

WIDTHS = (16, 32, 64)
MERGE = ("--lam", "0.85", "--threshold", "0.1", "--bn-form")


def widths(ratio: float) -> tuple[str, ...]:
    """Say what the convolutions of each stage keep, rounded down as the authors' program does.

    >>> widths(0.3)[1::2]
    ('/layer1/*conv1/Conv=11', '/layer2/*conv1/Conv=22', '/layer3/*conv1/Conv=44')
    """
    share = 1 - Fraction(str(ratio))
    kept = (int(width * share) for width in WIDTHS)
    return tuple(
        word
        for stage, count in enumerate(kept, 1)
        for word in ("--keep", f"/layer{stage}/*conv1/Conv={count}")
    )


def main() -> None:
    """Measure, print, and write beside the JSON."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", type=existing, required=True, metavar="FILE.onnx", help="batch norms as nodes"
    )
    parser.add_argument(
        "--folded", type=existing, metavar="FILE.onnx", help="the same with batch norms folded away"
    )
    sweep.add_options(parser)
    options = parser.parse_args()
    kept = (*MERGE, "released")
    variants = [
        sweep.Variant(
            options.model, "batch norm kept, released form", ("l1", "l2", "l2-gm"), kept, widths
        )
    ]
    if options.folded:
        folded = (*MERGE, "folded")
        name = "batch norm folded, folded form"
        variants.append(sweep.Variant(options.folded, name, ("out-norm", "l1"), folded, widths))
    sweep.run(options, CIFAR10, variants)


if __name__ == "__main__":
    main()
