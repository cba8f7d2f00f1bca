r"""Train the networks of tables 1 and 2 on CIFAR-10 and export them to ONNX.

    python benchmarks/accuracy/train.py vgg16_tanh mobilenet_v1 \
        --data path/to/cifar-10-binary.tar.gz --epochs 200 --out networks

writes ``NETWORK_cifar10.onnx``, batch norms folded, and ``NETWORK_cifar10_bn.onnx``, batch norms
kept. A small machine is content with ``--width 0.5 --epochs 7``. Needs torch: ``pip install
'.[train]'``; CUDA is used where there is some.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cifar10
import numpy as np
import onnx
import torch
from arguments import Parser, existing
from networks import ACTIVATIONS, mobilenet_v1, vgg16
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
BATCH, MARGIN = 128, 4
PEAK_LR, MOMENTUM, DECAY = 0.1, 0.9, 5e-4
# The newest that onnxruntime of a few years ago still runs.
OPSET = 17

NETWORKS: dict[str, Callable[..., nn.Sequential]] = {
    **{f"vgg16_{name}": partial(vgg16, name) for name in ACTIVATIONS},
    "mobilenet_v1": mobilenet_v1,
}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "networks", nargs="+", choices=NETWORKS, metavar="NETWORK", help=", ".join(NETWORKS)
    )
    parser.add_argument(
        "--data", type=existing, required=True, metavar="FILE", help="the archive, or x and y"
    )
    parser.add_argument("--test", type=existing, metavar="FILE.npz", help="default: the archive's")
    parser.add_argument("--width", type=float, default=1.0, help="share of the channels")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to write")
    options = parser.parse_args()
    if not options.width > 0 or options.epochs < 1:
        parser.error("--width must be above 0, and --epochs at least 1")
    return options


def device() -> torch.device:
    """Return the accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def normalise(images: cifar10.Images) -> Tensor:
    """Return ``(x / 255 - mean) / std``."""
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
    return (torch.from_numpy(images).float() / 255 - mean) / std


def batches(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one shuffled epoch, each image shifted by up to four pixels and perhaps mirrored."""
    order = torch.randperm(len(x))
    for start in range(0, len(x) - BATCH + 1, BATCH):
        index = order[start : start + BATCH].to(x.device)
        yield _augmented(x[index]), y[index]


def _augmented(images: Tensor) -> Tensor:
    count, _, height, width = images.shape
    padded = functional.pad(images, (MARGIN,) * 4)
    down, right = torch.randint(0, 2 * MARGIN + 1, (2, count, 1, 1)).to(images.device)
    rows = down + torch.arange(height, device=images.device).view(1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, -1)
    mirror = torch.rand(count, 1, 1).to(images.device) < 0.5
    columns = right + torch.where(mirror, width - 1 - columns, columns)
    place = torch.arange(count, device=images.device).view(-1, 1, 1)
    # Indexing puts the channels last: (n, height, width, 3).
    return padded[place, :, rows, columns].permute(0, 3, 1, 2).contiguous()


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    """Fit ``model`` in place with SGD under a one-cycle learning rate."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=PEAK_LR, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY
    )
    steps = epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LR, total_steps=steps)
    for epoch in range(1, epochs + 1):
        model.train()
        losses = []
        for images, labels in batches(x, y):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch:3d}  training loss {np.mean(losses):.4f}", flush=True)
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return top-1 in percent."""
    right = sum(
        int((model(part).argmax(1) == labels).sum())
        for part, labels in zip(x.split(500), y.split(500), strict=True)
    )
    return 100 * right / len(x)


def folded(model: nn.Sequential) -> nn.Sequential:
    """Return the network in evaluation with its batch norms folded into the layers before them."""
    layers: list[nn.Module] = []
    for layer in model:
        if isinstance(layer, nn.BatchNorm2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        elif isinstance(layer, nn.BatchNorm1d):
            layers[-1] = fuse_linear_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers).eval()


def export(model: nn.Module, path: Path) -> None:
    """Write ONNX, with batch norms as nodes where there are any.

    The older exporter needs no other package, and leaves batch norms alone if it is told to
    preserve the mode of a model that is in evaluation mode already.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, 32, 32),),
            path,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}},
        )
    onnx.checker.check_model(onnx.load(path), full_check=True)


def main() -> None:
    """Train, export, and print the accuracies."""
    options = parse()
    x, y = cifar10.load(options.data)
    test = options.test or (None if options.data.suffix == ".npz" else options.data)
    where = device()
    options.out.mkdir(parents=True, exist_ok=True)
    images, labels = normalise(x).to(where), torch.from_numpy(y).to(where)
    for name in options.networks:
        torch.manual_seed(options.seed)
        model = NETWORKS[name](width=options.width).to(where)
        print(f"{name} on {where}", flush=True)
        train(model, images, labels, options.epochs)
        if test is not None:
            x, y = cifar10.load(test, cifar10.TEST)
            top1 = accuracy(model, normalise(x).to(where), torch.from_numpy(y).to(where))
            print(f"top-1 on the test set {top1:.2f} %", flush=True)
        model = model.cpu().eval()
        export(model, options.out / f"{name}_cifar10_bn.onnx")
        export(folded(model), options.out / f"{name}_cifar10.onnx")


if __name__ == "__main__":
    main()
