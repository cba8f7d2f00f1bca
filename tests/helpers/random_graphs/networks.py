"""Whole networks: an input, some blocks, a head, and the dialect in which they are written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import onnx
from onnx import helper

from chain import run
from random_graphs import dialects, heads, sequences
from random_graphs.builder import Builder, Value
from random_graphs.pictures import BLOCKS, settled

COPIES = ("none", "scaled", "equal")
_LARGEST_OPSET = 21


@dataclass(frozen=True, eq=False)
class Sample:
    """A network and how to feed it.

    ``sizes`` holds for every dynamic axis the lengths that it is to be tried with.
    """

    seed: int
    copies: str
    model: onnx.ModelProto
    recipe: str
    inputs: dict[str, tuple[tuple[int | str, ...], np.dtype]] = field(repr=False)
    sizes: dict[str, tuple[int, int]] = field(repr=False)

    def feeds(self, which: int) -> dict[str, np.ndarray]:
        """Random inputs of the first or the second size."""
        rng = np.random.default_rng([self.seed, which])
        made = {}
        for name, (dims, dtype) in self.inputs.items():
            shape = [self.sizes[d][which] if isinstance(d, str) else d for d in dims]
            floats = dtype.kind == "f"
            made[name] = (
                rng.standard_normal(shape).astype(dtype)
                if floats
                else rng.integers(0, 50, shape).astype(dtype)
            )
        return made

    def outputs(self, model: onnx.ModelProto) -> list[np.ndarray]:
        """What a model gives for the inputs of each size, one after the other."""
        tried = (0, 1) if self.sizes else (0,)
        return [each for which in tried for each in run(model, self.feeds(which))]

    @cached_property
    def expected(self) -> list[np.ndarray]:
        """What the network itself gives."""
        return self.outputs(self.model)


@dataclass(eq=False)
class _Draft:
    """What is known of a network before its graph is complete."""

    builder: Builder
    inputs: dict[str, tuple[tuple[int | str, ...], np.dtype]]
    sizes: dict[str, tuple[int, int]]
    output: str = ""


def generate(seed: int, copies: str = "none") -> Sample:
    """Make the network of this seed."""
    rng = np.random.default_rng([seed, COPIES.index(copies)])
    kind = rng.choice(["picture", "sequence", "vector"], p=[0.65, 0.22, 0.13])
    if copies == "scaled" and kind == "sequence":
        kind = "picture"  # layer norms and softmaxes are not homogeneous
    half = copies == "none" and kind == "vector" and rng.random() < 0.3
    opset = int(rng.integers(9, _LARGEST_OPSET + 1))
    b = Builder(rng, opset, np.float16 if half else np.float32, copies)
    b.say(f"{kind}, opset {opset}, {b.dtype}:")
    draft = {"picture": _picture, "sequence": _sequence, "vector": _vector}[str(kind)](b)
    return _finish(seed, copies, draft)


def of_block(name: str, seed: int, copies: str) -> Sample:
    """A network around one block of :data:`BLOCKS`."""
    rng = np.random.default_rng([seed, COPIES.index(copies), *name.encode()])
    b = Builder(
        rng, max(int(rng.integers(9, _LARGEST_OPSET + 1)), BLOCKS[name].since), copies=copies
    )
    b.say(f"block {name}, opset {b.opset}:")
    return _finish(seed, copies, _picture(b, [name]))


def _batch(b: Builder) -> tuple[int | str, dict[str, tuple[int, int]]]:
    return (2, {}) if b.chance(0.25) else ("n", {"n": (2, 3)})


def _picture(b: Builder, names: list[str] | None = None) -> _Draft:
    batch, sizes = _batch(b)
    head = b.pick(heads.PICTURE_HEADS)
    b.fixed_size = head is heads.flattened or b.chance(0.4)
    dims: tuple[int | str, ...] = (batch, 3, 8, 8)
    if not b.fixed_size:
        # Halved three times and doubled again, they must come out even.
        dims, sizes = (batch, 3, "h", "w"), {**sizes, "h": (8, 16), "w": (8, 8)}
    b.say("stem")
    x = _stem(b, Value("input", 3, (8, 8)))
    for name in names or _some_blocks(b):
        b.say("|", name)
        x = BLOCKS[name].make(b, x)
        if b.plain and b.chance(0.08):
            b.taps.append(x.name)
    b.say("|")
    return _Draft(b, {"input": (dims, b.dtype)}, sizes, head(b, settled(b, x)))


def _stem(b: Builder, x: Value) -> Value:
    return BLOCKS["plain"].make(b, x)


def _some_blocks(b: Builder) -> list[str]:
    """Names of blocks that this opset has and these copies allow."""
    entries = {
        name: entry
        for name, entry in BLOCKS.items()
        if b.opset >= entry.since and (b.plain or b.copies in entry.copies)
    }
    weights = np.array([entry.weight for entry in entries.values()], float)
    count = int(b.rng.integers(1, 6))
    return [str(n) for n in b.rng.choice(list(entries), count, p=weights / weights.sum())]


def _sequence(b: Builder) -> _Draft:
    batch, sizes = _batch(b)
    kind = b.pick(["floats", "ids", "patches"])
    b.say(kind)
    if kind == "patches":
        dims: tuple[int | str, ...] = (batch, 3, 8, 8)
        x = heads.patches(b, Value("input", 3, (8, 8)))
        dtype = b.dtype
    else:
        dims, dtype = (batch, "t"), np.dtype(np.int64)
        sizes = {**sizes, "t": (5, 7)}
        if kind == "floats":
            dims, dtype = (*dims, 6), b.dtype
            x = b.dense(Value("input", 6, (5,)), 8)
        else:
            x = heads.embedded(b, "input", 5)
    for _ in range(int(b.rng.integers(1, 3))):
        if b.chance(0.4):
            b.say("| recurrent")
            x = sequences.recurrent_block(b, x)
        b.say("| transformer")
        x = sequences.transformer_block(b, x)
    b.say("|")
    return _Draft(b, {"input": (dims, dtype)}, sizes, heads.read_out(b, x))


def _vector(b: Builder) -> _Draft:
    batch, sizes = _batch(b)
    x = sequences.dense_layer(b, Value("input", 6, ()))
    names = [name for name in sequences.VECTOR_BLOCKS if b.copies != "scaled" or name != "gated"]
    if b.dtype == np.float16:  # products leave its range
        names.remove("gated")
    if b.copies == "equal":  # sums over concatenations have their pairs elsewhere
        names.remove("concat")
    for _ in range(int(b.rng.integers(1, 5))):
        name = b.pick(names)
        if name == "gated":  # products of products grow without bound
            names.remove(name)
        b.say("|", name)
        x = sequences.VECTOR_BLOCKS[name](b, x)
    b.say("|")
    return _Draft(b, {"input": ((batch, 6), b.dtype)}, sizes, heads.classified(b, x))


def _finish(seed: int, copies: str, draft: _Draft) -> Sample:
    """Declare inputs and outputs, write the graph in some dialects, check it."""
    b = draft.builder
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), list(dims))
        for name, (dims, dtype) in draft.inputs.items()
    ]
    kind = helper.np_dtype_to_tensor_dtype(b.dtype)
    outputs = [
        helper.make_tensor_value_info(name, kind, None)
        for name in dict.fromkeys([draft.output, *b.taps])
    ]
    graph = helper.make_graph(b.nodes, "network", inputs, outputs, b.initializers)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", b.opset)],
        ir_version=8 if b.opset < 19 else 10,
    )
    sample = Sample(seed, copies, model, "", draft.inputs, draft.sizes)
    _declare_outputs(sample)
    for share, dialect in dialects.DIALECTS:
        if b.chance(share):
            b.say("+", dialect.__name__)
            dialect(model, b.rng)
    onnx.checker.check_model(model, full_check=True)
    return replace(sample, recipe=" ".join(b.words))


def _declare_outputs(sample: Sample) -> None:
    """Give outputs the shapes that inference finds, else as many open axes as they have."""
    model = sample.model
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True, strict_mode=True)
    for number, (declared, known) in enumerate(
        zip(model.graph.output, inferred.graph.output, strict=True)
    ):
        if known.type.tensor_type.HasField("shape"):
            declared.CopyFrom(known)
            continue
        rank = run(model, sample.feeds(0))[number].ndim
        kind = declared.type.tensor_type.elem_type
        dims = [f"{declared.name}_{axis}" for axis in range(rank)]
        declared.CopyFrom(helper.make_tensor_value_info(declared.name, kind, dims))
