"""The published figures, on the authors' own weights, where these lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nmcore
from chain import run

SHARED = Path(__file__).parents[3] / "shared"
LENET = SHARED / "models" / "lenet300100_fashion_mnist.onnx"
TEST_SET = SHARED / "data" / "fashion_mnist_test.npz"
MODELS = sorted((SHARED / "models").glob("*.onnx"))

# Top-1 of prune and merge at 50, 60, 70 and 80 %: the authors' program, re-run on these weights.
FIGURES = {
    "l1": [(88.40, 88.69), (85.17, 86.92), (71.26, 82.75), (66.76, 80.02)],
    "l2": [(87.86, 88.38), (83.03, 88.07), (71.21, 83.27), (63.90, 77.11)],
    "l2-gm": [(88.08, 88.57), (85.82, 88.10), (78.38, 86.39), (64.19, 77.49)],
}


@pytest.fixture(scope="module")
def fashion_mnist():
    data = np.load(TEST_SET)
    return ((data["x"] / 255 - 0.5) / 0.5).astype(np.float32), data["y"]


@pytest.mark.skipif(not LENET.exists(), reason=f"the authors' LeNet-300-100 is not at {LENET}")
@pytest.mark.parametrize("criterion", FIGURES)
def test_lenet_300_100(fashion_mnist, criterion):
    x, y = fashion_mnist
    for ratio, expected in zip((0.5, 0.6, 0.7, 0.8), FIGURES[criterion], strict=True):
        for method, figure in zip(("prune", "merge"), expected, strict=True):
            result = nmcore.compress(
                LENET, ratio=ratio, criterion=criterion, method=method, threshold=0.45
            )
            (logits,) = run(result.graph.serialize(), {"input": x})
            top1 = 100 * (logits.argmax(1) == y).mean()
            assert top1 == pytest.approx(figure, abs=0.02), (method, ratio)


@pytest.mark.skipif(not MODELS, reason=f"there are no models in {SHARED / 'models'}")
@pytest.mark.parametrize("path", MODELS, ids=[path.stem for path in MODELS])
@pytest.mark.parametrize("method", ["prune", "merge", "moments"])
def test_every_model_is_proven(path, method):
    few = {"samples": 4} if method == "moments" else {}
    result = nmcore.compress(path, ratio=0.3, method=method, verify=True, **few)
    assert result.verified
    assert result.after.params < result.before.params
