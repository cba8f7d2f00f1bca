"""How redundant are a network's channels? What pruning and merging live on.

    python benchmarks/accuracy/redundancy.py path/to/*.onnx --json redundancy.json

With the half of each layer's channels removed that has the smaller l1 norm: how large the removed
ones are beside the kept ones, and how similar each is to its most similar kept one. Pruning wants
the first to be small, merging the second to be near 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from arguments import Parser, existing
from delivery import Outcome, deliver
from numpy.typing import NDArray
from onnx import numpy_helper
from store import Record, Result, Store, digest
from tables import Table
from trials import groups

import nmcore


def measure(model: Path) -> Result:
    """Return both means over a network's layers, as shares."""
    graph = onnx.load(model).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes = {node.name: node for node in graph.node}
    weights = [numpy_helper.to_array(tensors[nodes[name].input[1]]) for name, _ in groups(model)]
    found = np.array([layer(weight.astype(np.float64)) for weight in weights])
    size, cosine = found.mean(0)
    return {"layers": len(found), "size": float(size), "cosine": float(cosine)}


def layer(weight: NDArray[np.float64]) -> tuple[float, float]:
    """Return the size of the removed rows beside the kept ones, and their best cosine.

    >>> rows = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 1.0]])
    >>> layer(rows)
    (0.5, 1.0)
    """
    kept = nmcore.select(weight, (len(weight) + 1) // 2, criterion="l1")
    removed = np.setdiff1d(np.arange(len(weight)), kept)
    norms = np.abs(weight.reshape(len(weight), -1)).sum(1)
    scaling = nmcore.scaling_matrix(weight, kept, method="merge", threshold=0.0)
    return (
        float(norms[removed].mean() / norms[kept].mean()),
        float(scaling.similarity[removed].mean()),
    )


def outcome(records: Sequence[Record]) -> Outcome:
    """Write the table."""
    rows = [
        [
            each.cell["model"],
            str(each.result["layers"]),
            f"{100 * each.result['size']:.0f} %",
            f"{each.result['cosine']:.2f}",
        ]
        for each in records
    ]
    headers = ["network", "layers", "removed rows' l1 norm, of the kept ones'", "best cosine"]
    return Outcome([Table(headers, rows)])


def main() -> None:
    """Measure, print, and write beside the JSON."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=existing, nargs="+", metavar="MODEL.onnx")
    parser.add_results()
    options = parser.parse_args()
    store = Store(options.json)
    for model in options.models:
        key = {"nmcore": nmcore.__version__, "model_sha256": digest(model)}
        store.once({"model": model.stem}, key, partial(measure, model))
    deliver(outcome(store.records), store.path)


if __name__ == "__main__":
    main()
