"""Train a small LeNet-5 on Fashion-MNIST and export it to ONNX with and without batch norm.

    python train.py --seed 0 --epochs 20

writes ``lenet5.onnx``, ``lenet5_bn.onnx``, ``test_1000.npz`` and ``calibration_256.npz``.
Needs torch, onnx and onnxscript; nothing else in this example does.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from data import DEFAULT_DATA, DataError, Labels, load_split, normalise, write_samples
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

BATCH = 128
PEAK_LR = 0.05
# The order in which threads add floats is part of the result, so their number is fixed too.
THREADS = 2
OPSET = 18


class LeNet5(nn.Module):
    """Two blocks of convolution, batch norm, ReLU and max pooling, then three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 5, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(32 * 4 * 4, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (n, 1, 28, 28) to logits (n, 10)."""
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        x = self.pool(self.relu(self.bn2(self.conv2(x))))
        x = self.relu(self.fc1(self.flatten(x)))
        return self.fc3(self.relu(self.fc2(x)))


def flipped_batches(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the full batches of one shuffled epoch, half of the images mirrored left to right."""
    order = torch.randperm(len(x))
    for start in range(0, len(x) - BATCH + 1, BATCH):
        index = order[start : start + BATCH]
        images = x[index]
        mirror = (torch.rand(BATCH) < 0.5).view(-1, 1, 1, 1)
        yield torch.where(mirror, images.flip(3), images), y[index]


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    """Fit ``model`` in place with SGD under a one-cycle learning rate."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=PEAK_LR, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=PEAK_LR, total_steps=epochs * (len(x) // BATCH)
    )
    model.train()
    for epoch in range(1, epochs + 1):
        losses = []
        for images, labels in flipped_batches(x, y):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch:2d}  training loss {np.mean(losses):.4f}", flush=True)
    model.eval()


@torch.no_grad()
def hits(model: nn.Module, x: Tensor, labels: Labels) -> NDArray[np.bool_]:
    """Return for every image whether the top class is the label."""
    top = torch.cat([model(part).argmax(1) for part in x.split(1000)])
    return top.numpy() == labels


def export_folded(model: nn.Module, path: Path) -> None:
    """Write ONNX as torch's default exporter does: it folds the batch norms."""
    torch.onnx.export(
        model,
        (torch.zeros(2, 1, 28, 28),),
        path,
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=["input"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        external_data=False,
    )


def export_with_batchnorm(model: nn.Module, path: Path) -> None:
    """Write ONNX with its batch norms as nodes in inference form.

    The default exporter keeps them only unoptimised, with shape arithmetic before the Reshape.
    The older one folds them as part of its evaluation mode, so it is asked to preserve the mode
    of a model that is in evaluation mode already.
    """
    torch.onnx.export(
        model,
        (torch.zeros(2, 1, 28, 28),),
        path,
        dynamo=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        opset_version=OPSET,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}},
    )


def strip_and_check(path: Path) -> None:
    """Drop the exporter's metadata, which quotes this machine's paths, and check the model."""
    model = onnx.load(path)
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for owner in (model, graph, *graph.node, *values):
        del owner.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def export_all(model: nn.Module, folder: Path) -> None:
    """Write ``lenet5.onnx`` and ``lenet5_bn.onnx``."""
    # The exporters report on packages that this network does not use and on their own
    # deprecations, the older exporter's among them; what they write is checked instead.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        export_folded(model, folder / "lenet5.onnx")
        export_with_batchnorm(model, folder / "lenet5_bn.onnx")
    for name in ("lenet5.onnx", "lenet5_bn.onnx"):
        strip_and_check(folder / name)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="the idx .gz files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where to write")
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {arguments.epochs}")
    return arguments


def main() -> None:
    """Train, export both models, write both samples and print the accuracies."""
    arguments = parse_arguments()
    try:
        images, labels = load_split(arguments.data, "train")
        test_images, test_labels = load_split(arguments.data, "t10k")
    except DataError as error:
        sys.exit(f"train.py: {error}")
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)

    model = LeNet5()
    x, y = torch.from_numpy(normalise(images)), torch.from_numpy(labels)
    train(model, x, y, arguments.epochs)
    arguments.out.mkdir(parents=True, exist_ok=True)
    export_all(model, arguments.out)
    chosen = write_samples(images, test_images, test_labels, arguments.out)
    correct = hits(model, torch.from_numpy(normalise(test_images)), test_labels)
    print(f"top-1 on the test set {100 * correct.mean():.2f} %")
    print(f"top-1 on test_1000.npz {100 * correct[chosen].mean():.2f} %")


if __name__ == "__main__":
    main()
