r"""LeNet-300-100 on Fashion-MNIST: criteria by shares removed, all methods.

    python benchmarks/accuracy/lenet300100.py --model path/to/lenet300100_fashion_mnist.onnx \
        --data path/to/fashion_mnist_test.npz --calibration path/to/fashion_mnist_calib.npz \
        --json lenet300100.json

The weights are those published with the paper; pixels are ``(x / 255 - 0.5) / 0.5``.
"""

from __future__ import annotations

import sweep
from arguments import Parser, existing
from trials import FASHION_MNIST

CRITERIA = ("l1", "l2", "l2-gm")
MERGE = ("--threshold", "0.45")


def main() -> None:
    """Measure, print, and write beside the JSON."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=existing, required=True, metavar="FILE.onnx")
    sweep.add_options(parser)
    options = parser.parse_args()
    variant = sweep.Variant(
        options.model, "no batch norm", CRITERIA, MERGE, lambda ratio: ("--ratio", f"{ratio:g}")
    )
    sweep.run(options, FASHION_MNIST, [variant])


if __name__ == "__main__":
    main()
