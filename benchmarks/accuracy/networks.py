"""The networks of tables 1 and 2 for PyTorch, at any width."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

CLASSES = 10
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "softsign": nn.Softsign,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "leakyrelu": nn.LeakyReLU,
    "hardswish": nn.Hardswish,
}
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Width and stride of each depthwise separable layer.
MOBILENET_V1: Sequence[tuple[int, int]] = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


def vgg16(activation: str = "relu", width: float = 1.0) -> nn.Sequential:
    """Build VGG-16 for images of 32 x 32: thirteen convolutions, then two linear layers."""
    act = ACTIVATIONS[activation]
    layers: list[nn.Module] = []
    inputs = 3
    for place, stage in enumerate(VGG16):
        for full in stage:
            outputs = scaled(full, width)
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(outputs), act()]
            inputs = outputs
        layers.append(nn.AvgPool2d(2) if place == len(VGG16) - 1 else nn.MaxPool2d(2))
    hidden = [nn.Linear(inputs, inputs), nn.BatchNorm1d(inputs), act()]
    return nn.Sequential(*layers, nn.Flatten(), *hidden, nn.Linear(inputs, CLASSES))


def mobilenet_v1(width: float = 1.0) -> nn.Sequential:
    """Build MobileNetV1 for images of 32 x 32: the first convolution keeps their size."""
    inputs = scaled(32, width)
    layers: list[nn.Module] = [nn.Conv2d(3, inputs, 3, padding=1, bias=False)]
    layers += [nn.BatchNorm2d(inputs), nn.ReLU()]
    for full, stride in MOBILENET_V1:
        outputs = scaled(full, width)
        depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        layers += [depthwise, nn.BatchNorm2d(inputs), nn.ReLU()]
        pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        layers += [pointwise, nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES)]
    return nn.Sequential(*layers, *tail)


def scaled(full: int, width: float) -> int:
    """Return the number of channels at a share of the full width."""
    return max(1, round(full * width))
