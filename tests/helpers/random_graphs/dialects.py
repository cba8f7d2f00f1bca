"""The same graph as another exporter would have written it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper


def constant_nodes(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Weights as Constant nodes, all or some of them."""
    kept, nodes = [], []
    share = rng.choice([0.3, 1.0])
    for tensor in model.graph.initializer:
        if rng.random() < share:
            name = f"constant_{tensor.name}"
            nodes.append(helper.make_node("Constant", [], [tensor.name], name, value=tensor))
        else:
            kept.append(tensor)
    nodes.extend(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)


def declared_initializers(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Initialisers listed among the inputs too, as all were before IR version 4."""
    for tensor in model.graph.initializer:
        if rng.random() < 0.8:
            kind = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            model.graph.input.append(kind)


def unnamed(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Nodes without names."""
    for node in model.graph.node:
        if rng.random() < 0.8:
            node.name = ""


def annotated(model: onnx.ModelProto, _rng: np.random.Generator) -> None:
    """The type of every value spelled out."""
    inferred = onnx.shape_inference.infer_shapes(model)
    model.graph.value_info.extend(inferred.graph.value_info)


def identities(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Weights that pass an Identity on their way, as PyTorch writes shared ones."""
    names = [tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1]
    for name in names:
        if rng.random() > 0.3:
            continue
        for node in model.graph.node:
            for index, each in enumerate(node.input):
                if each == name:
                    node.input[index] = f"{name}_same"
        copy = helper.make_node("Identity", [name], [f"{name}_same"], f"identity_{name}")
        model.graph.node.insert(0, copy)


def described(model: onnx.ModelProto, _rng: np.random.Generator) -> None:
    """Metadata and documentation."""
    model.doc_string, model.producer_name = "what it is for", "a program"
    model.metadata_props.add(key="author", value="somebody")


DIALECTS: list[tuple[float, Callable[[onnx.ModelProto, np.random.Generator], None]]] = [
    (0.12, identities),
    (0.15, constant_nodes),
    (0.08, declared_initializers),
    (0.15, unnamed),
    (0.3, annotated),
    (0.2, described),
]
