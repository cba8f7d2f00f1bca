"""Examine what a program made of a model: is it valid, does it load and run, has it the same face.

A program of its own, since a broken model may take the process down: prints one JSON object.

    python examine.py BEFORE.onnx AFTER.onnx
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.BFLOAT16,
)
# Batch, height and width of pictures, length of sequences; those that the original runs with count.
SIZES = (
    *((1, 64, 64, 16), (2, 96, 64, 24), (1, 224, 224, 512), (2, 160, 320, 512)),
    *((1, 48, 320, 1), (1, 640, 640, 16000), (2, 32, 32, 20000)),
)
ENOUGH = 3
OK, BROKEN, AS_BEFORE, UNKNOWN = "ok", "broken", "as before", "-"


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Every graph inside a graph, itself included."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from graphs(inner)


def params(model: onnx.ModelProto) -> int:
    """Count the numbers in the floating-point weights, those of Constant nodes included."""
    total = 0
    for graph in graphs(model.graph):
        tensors = list(graph.initializer)
        for node in graph.node:
            if node.op_type == "Constant":
                tensors.extend(a.t for a in node.attribute if a.name == "value")
        total += sum(math.prod(t.dims) for t in tensors if t.data_type in FLOATS)
    return total


def fault(check: Any, *arguments: Any) -> str | None:
    """Run a check; what it complains of, in one line."""
    try:
        check(*arguments)
    except Exception as error:
        text = str(error).strip().splitlines()
        return (text[0] if text else type(error).__name__)[:300]
    return None


def verdict(before: str | None, after: str | None) -> str:
    """Judge by what the original does: what fails there need not pass afterwards."""
    if after is None:
        return OK
    return BROKEN if before is None else AS_BEFORE


def strict_shapes(model: onnx.ModelProto) -> None:
    """Run strict shape inference."""
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def load(path: Path) -> ort.InferenceSession:
    """Load a model on the CPU, quietly."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def feeds(session: ort.InferenceSession, sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Make random inputs with these sizes on dynamic axes."""
    rng = np.random.default_rng(0)
    return {spec.name: _random(rng, spec, sizes) for spec in session.get_inputs()}


def _random(rng: np.random.Generator, spec: Any, sizes: tuple[int, ...]) -> np.ndarray:
    shape = _shape(list(spec.shape), *sizes)
    kind = spec.type.removeprefix("tensor(").removesuffix(")")
    if kind in ("float", "double", "float16"):
        return rng.standard_normal(shape).astype({"float": "f4", "double": "f8"}.get(kind, "f2"))
    if kind == "bool":
        return np.ones(shape, bool)
    return rng.integers(0, 8, shape).astype(kind)


def _shape(dims: list[Any], batch: int, height: int, width: int, length: int) -> list[int]:
    """Replace open axes: the first is the batch, even behind a fixed one as in a state's shape.

    The fixed axis of a picture tells whether its channels come first or last.
    """
    inner = [length] * len(dims)
    if len(dims) == 3 and not any(isinstance(dim, int) for dim in dims):
        inner[1] = 1  # the channels of a sound
    if len(dims) == 4:
        last = isinstance(dims[3], int) and not isinstance(dims[1], int)
        inner = [batch, height, width, 3] if last else [batch, 3, height, width]
    is_open = [not isinstance(dim, int) or dim <= 0 for dim in dims]
    first = is_open.index(True) if any(is_open) else -1
    if first > 0 and len(dims) != 3:
        first = -1  # a picture of a fixed batch
    return [
        (batch if axis == first else inner[axis]) if is_open[axis] else dim
        for axis, dim in enumerate(dims)
    ]


def runs(before: Path, after: Path) -> tuple[str, list[str], str | None]:
    """Run both with several sizes: verdict, the sizes that the original takes, the first fault."""
    old = load(before)
    new = load(after)
    dynamic = any(not isinstance(d, int) for spec in old.get_inputs() for d in spec.shape)
    tried: list[str] = []
    for sizes in SIZES if dynamic else SIZES[:1]:
        if len(tried) == ENOUGH:
            break
        made: list[Any] = []
        if fault(lambda s=sizes, m=made: m.extend(old.run(None, feeds(old, s)))) is not None:
            continue
        tried.append("x".join(map(str, sizes[:3])) if dynamic else "fixed")
        found: list[Any] = []
        problem = fault(lambda s=sizes, f=found: f.extend(new.run(None, feeds(old, s))))
        if problem is None and [_kind(each) for each in made] != [_kind(each) for each in found]:
            problem = "outputs of another shape or type"
        if problem is not None:
            return BROKEN, tried, f"{tried[-1]}: {problem}"
    return (OK if tried else UNKNOWN), tried, None


def _kind(value: Any) -> Any:
    return (value.shape, value.dtype) if isinstance(value, np.ndarray) else type(value)


def same_face(before: onnx.ModelProto, after: onnx.ModelProto) -> str | None:
    """Return what of names, types, axes, opsets and metadata has changed, or None."""
    weights = {tensor.name for tensor in before.graph.initializer}
    faces = []
    for model in (before, after):
        inputs = [v.SerializeToString() for v in model.graph.input if v.name not in weights]
        outputs = [v.SerializeToString() for v in model.graph.output]
        opsets = sorted((o.domain, o.version) for o in model.opset_import)
        metadata = sorted((p.key, p.value) for p in model.metadata_props)
        faces.append({"inputs": inputs, "outputs": outputs, "opset": opsets, "metadata": metadata})
    changed = [name for name in faces[0] if faces[0][name] != faces[1][name]]
    return ", ".join(changed) or None


def examine(before: Path, after: Path) -> dict[str, Any]:
    """Say all of it."""
    old, new = onnx.load(before), onnx.load(after)
    record: dict[str, Any] = {"params_before": params(old), "params_after": params(new)}
    faults = {
        "checker": [fault(onnx.checker.check_model, model) for model in (old, new)],
        "shapes": [fault(strict_shapes, model) for model in (old, new)],
        "loads": [fault(load, path) for path in (before, after)],
    }
    record |= {name: verdict(*pair) for name, pair in faults.items()}
    problems = [f"{name}: {pair[1]}" for name, pair in faults.items() if verdict(*pair) == BROKEN]
    record["runs"], record["sizes"] = UNKNOWN, []
    if faults["loads"] == [None, None]:
        record["runs"], record["sizes"], problem = runs(before, after)
        problems += [f"runs: {problem}"] if problem else []
    changed = same_face(old, new)
    record["face"] = OK if changed is None else BROKEN
    problems += [f"changed: {changed}"] if changed else []
    return record | {"problems": problems}


if __name__ == "__main__":
    print(json.dumps(examine(Path(sys.argv[1]), Path(sys.argv[2]))))
