"""What the blocks of random graphs are made of: nodes in the form of any opset, and weights.

The builder writes operators as exporters of its opset did: attributes that became inputs later,
operators that were several nodes before. Blocks need not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from random_graphs.twins import FACTOR, Twins

# Entries of twin weights are multiples of this, so that their sums are exact in any order and
# channels that should rank equal do.
_GRAIN = 2.0**-12


@dataclass(frozen=True, eq=False)
class Value:
    """A value (n, width, *size), or (n, *size, width) of a sequence or vector.

    ``size`` is what the axes are at the first of the sizes that the model is tried with.
    """

    name: str
    width: int
    size: tuple[int, ...]
    twins: Twins | None = None


class Builder:
    """A graph under construction.

    Parameters
    ----------
    copies : {"none", "scaled", "equal"}
        Whether the second channel of every pair is a copy of the first, and whether by a factor.
    """

    def __init__(
        self, rng: np.random.Generator, opset: int, dtype: type = np.float32, copies: str = "none"
    ) -> None:
        self.rng, self.opset, self.dtype, self.copies = rng, opset, np.dtype(dtype), copies
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.taps: list[str] = []  # values that become outputs besides the last one
        self.fixed_size = False  # whether a weight fits only one spatial size
        self.words: list[str] = []  # the recipe
        self._shareable: dict[tuple[int, ...], str] = {}

    # choices

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def say(self, *words: Any) -> None:
        self.words.append(" ".join(map(str, words)))

    @property
    def plain(self) -> bool:
        """Whether channels need not be copies of each other."""
        return self.copies == "none"

    # nodes and constants

    def nodes_of(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Append a node; the names of its outputs."""
        name = f"{op.lower()}_{len(self.nodes)}"
        made = [f"{name}_out{k or ''}" for k in range(outputs)]
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(op, list(inputs), made, name, **given))
        return made

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.nodes_of(op, *inputs, **attributes)[0]

    def const(self, array: Any, hint: str = "c") -> str:
        """An initialiser; floats take the model's type."""
        array = np.asarray(array)
        array = array.astype(self.dtype if array.dtype.kind == "f" else array.dtype)
        name = f"{hint}_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *numbers: int) -> str:
        return self.const(np.array(numbers, np.int64), "ints")

    def scalar(self, number: float) -> str:
        shape = self.pick([(), (1,)])
        return self.const(np.full(shape, number, np.float32), "scalar")

    # weights

    def fresh(self, width: int, *, local: bool = False) -> Twins | None:
        """Twins for a new layer; ``local`` ones stay together when channels are cut in parts."""
        if self.plain:
            return None
        factor = FACTOR if self.copies == "scaled" else 1.0
        return (Twins.adjacent if local else Twins.halves)(width, factor)

    def rows(
        self, width: int, *rest: int, twins: Twins | None, scaled: bool = True, gain: float = 1.4
    ) -> np.ndarray:
        """Weights (width, *rest), so that outputs are about as large as inputs.

        Rows of twins have one l1 norm, so that only the factor ranks them: the first channels of
        every pair are then the ones that are kept.
        """
        fan = int(np.prod(rest)) if rest else 1
        if twins is None:
            return self.rng.standard_normal((width, *rest)) * gain / np.sqrt(fan)
        entries = np.abs(self.rng.standard_normal(fan)) * gain / np.sqrt(fan) + 2 * _GRAIN
        entries = np.round(entries / _GRAIN) * _GRAIN
        count = int(twins.classes.max()) + 1
        base = np.stack([self.rng.permutation(entries) for _ in range(count)])
        base *= self.rng.choice([-1.0, 1.0], base.shape)
        rows = base[twins.classes]
        if scaled:
            rows = rows * twins.factors[:, None]
        return rows.reshape(width, *rest)

    def vector(
        self, width: int, twins: Twins | None, *, around: float = 0.0, scaled: bool = True
    ) -> np.ndarray:
        """A number a channel; of equal size in twins, for it may count in their rank."""
        if twins is None:
            return around + 0.2 * self.rng.standard_normal(width)
        count = int(twins.classes.max()) + 1
        base = around + self.rng.choice([-0.125, 0.125], count)
        return base[twins.classes] * (twins.factors if scaled else 1.0)

    def weight(self, array: np.ndarray, hint: str = "w") -> str:
        """A weight, now and then one that another node has already."""
        known = self._shareable.get(array.shape)
        if self.plain and known is not None and self.chance(0.03):
            self.say("(shared weight)")
            return known
        name = self._shareable[array.shape] = self.const(array, hint)
        return name

    # layers

    def conv(
        self,
        x: Value,
        width: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        group: int = 1,
        dilation: int = 1,
        bias: bool | None = None,
        twins: Twins | None = None,
        local: bool = False,
        scaled: bool = True,
    ) -> Value:
        """A convolution that keeps sizes but for its stride; depthwise ones keep the twins.

        ``scaled=False`` makes twins that are equal whatever the others are: gates need that.
        """
        depthwise = group == x.width == width and group > 1
        if twins is None and not self.plain:
            twins = x.twins if depthwise else self.fresh(width, local=local)
        taps = (kernel,) * len(x.size)
        array = self.rows(
            width, x.width // group, *taps, twins=twins, scaled=scaled and not depthwise
        )
        inputs = [x.name, self.weight(array)]
        if self.chance(0.7) if bias is None else bias:
            inputs.append(self.const(self.vector(width, twins, scaled=scaled), "b"))
        pad = dilation * (kernel - 1) // 2
        made = self.op(
            "Conv",
            *inputs,
            kernel_shape=list(taps) if self.chance(0.8) else None,
            pads=[pad] * 2 * len(taps) if pad else None,
            strides=[stride] * len(taps) if stride > 1 else None,
            dilations=[dilation] * len(taps) if dilation > 1 else None,
            group=group if group > 1 else None,
        )
        return Value(made, width, tuple(-(-s // stride) for s in x.size), twins)

    def dense(
        self,
        x: Value,
        width: int,
        *,
        features: int | None = None,
        bias: bool = True,
        twins: Twins | None = None,
        scaled: bool = True,
        local: bool = False,
    ) -> Value:
        """A fully connected layer on the last axis, in one of the forms that exporters write."""
        if twins is None and not self.plain:
            twins = self.fresh(width, local=local)
        array = self.rows(width, features or x.width, twins=twins, scaled=scaled)
        offset = self.vector(width, twins, scaled=scaled)
        forms = ["matmul", "matmul", "transposed"] + ["gemm", "gemm", "gemm not transposed"] * (
            not x.size
        )
        form = self.pick(forms)
        if form.startswith("gemm"):
            flipped = form == "gemm"
            name = self.weight(array if flipped else np.ascontiguousarray(array.T))
            extra = [self.const(offset, "b")] if bias or self.opset < 11 else []
            made = self.op("Gemm", x.name, name, *extra, transB=int(flipped))
            return Value(made, width, x.size, twins)
        if form == "transposed":
            # As PyTorch writes a Linear whose constants were not folded.
            weight = self.op("Transpose", self.weight(array), perm=[1, 0])
        else:
            weight = self.weight(np.ascontiguousarray(array.T))
        made = self.op("MatMul", x.name, weight)
        if bias:
            pair = [made, self.const(offset, "b")]
            made = self.op("Add", *(pair if self.chance(0.7) else pair[::-1]))
        return Value(made, width, x.size, twins)

    def per_channel(self, x: Value, numbers: np.ndarray) -> str:
        """A constant that broadcasts over a picture's channels."""
        ones = [1] * len(x.size)
        lead = [1] if self.chance(0.6) else []
        return self.const(numbers.reshape(*lead, -1, *ones), "p")

    def batch_norm(self, x: Value, *, written_out: bool | None = None) -> Value:
        """A batch norm, or the multiplication and addition that some exporters make of it."""
        gamma = self.vector(x.width, x.twins, around=1.0, scaled=False)
        beta = self.vector(x.width, x.twins)
        if self.chance(0.25) if written_out is None else written_out:
            scaled = self.op("Mul", x.name, self.per_channel(x, gamma))
            return replace(x, name=self.op("Add", scaled, self.per_channel(x, beta)))
        mean = self.vector(x.width, x.twins)
        var = np.abs(self.vector(x.width, x.twins, around=1.0, scaled=False)) + 0.1
        numbers = [self.const(each, "bn") for each in (gamma, beta, mean, var)]
        return replace(x, name=self.op("BatchNormalization", x.name, *numbers, epsilon=1e-5))

    def add(self, x: Value, y: Value) -> Value:
        """A sum; twins of both must be twins of each other."""
        twins = x.twins if x.twins is not None and x.twins.same(y.twins) else None
        pair = [x.name, y.name] if self.chance(0.5) else [y.name, x.name]
        return replace(x, name=self.op("Add", *pair), twins=twins)

    def concat(self, parts: Sequence[str], axis: int) -> str:
        return self.op("Concat", *parts, axis=axis)

    # operators whose form depends on the opset

    def transpose(self, name: str, *perm: int) -> str:
        return self.op("Transpose", name, perm=list(perm))

    def squeeze(self, name: str, *axes: int, op: str = "Squeeze") -> str:
        if self.opset < 13:
            return self.op(op, name, axes=list(axes))
        return self.op(op, name, self.ints(*axes))

    def unsqueeze(self, name: str, *axes: int) -> str:
        return self.squeeze(name, *axes, op="Unsqueeze")

    def reduce(self, name: str, *axes: int, keepdims: bool = True, op: str = "ReduceMean") -> str:
        if self.opset < 18:
            return self.op(op, name, axes=list(axes), keepdims=int(keepdims))
        return self.op(op, name, self.ints(*axes), keepdims=int(keepdims))

    def split(self, name: str, sizes: Sequence[int], axis: int) -> list[str]:
        count = len(sizes)
        if self.opset < 13:
            return self.nodes_of("Split", name, outputs=count, split=list(sizes), axis=axis)
        if self.opset >= 18 and len(set(sizes)) == 1 and self.chance(0.3):
            return self.nodes_of("Split", name, outputs=count, num_outputs=count, axis=axis)
        return self.nodes_of("Split", name, self.ints(*sizes), outputs=count, axis=axis)

    def slice(
        self,
        name: str,
        axes: Sequence[int],
        starts: Sequence[int],
        ends: Sequence[int],
        steps: Sequence[int] | None = None,
    ) -> str:
        if self.opset < 10:  # no steps yet
            return self.op("Slice", name, axes=list(axes), starts=list(starts), ends=list(ends))
        extra = [self.ints(*steps)] if steps is not None else []
        numbers = [self.ints(*each) for each in (starts, ends, axes)]
        return self.op("Slice", name, *numbers, *extra)

    def pad_channels(self, name: str, before: int, after: int) -> str:
        pads = [0, before, 0, 0, 0, after, 0, 0]
        if self.opset < 11:
            return self.op("Pad", name, pads=pads, mode="constant")
        value = [self.const(np.zeros((), np.float32))] if self.chance(0.5) else []
        return self.op("Pad", name, self.ints(*pads), *value)

    def clip(self, name: str, low: float, high: float) -> str:
        if self.opset < 11:
            return self.op("Clip", name, min=low, max=high)
        bounds = [self.const(np.array(each, np.float32), "bound") for each in (low, high)]
        return self.op("Clip", name, *bounds)

    def resize(self, x: Value) -> Value:
        """Twice the height and the width."""
        scales = self.const_float32([1.0, 1.0, 2.0, 2.0])
        mode = self.pick(["nearest", "linear"])
        if self.opset < 10:
            made = self.op("Upsample", x.name, scales, mode="nearest")
        elif self.opset == 10:
            made = self.op("Resize", x.name, scales, mode="nearest")
        else:
            roi = self.const_float32([]) if self.opset < 13 else ""
            made = self.op("Resize", x.name, roi, scales, mode=mode)
        return replace(x, name=made, size=tuple(2 * s for s in x.size))

    def const_float32(self, numbers: Sequence[float]) -> str:
        """A constant that is float32 in models of any type."""
        name = f"scales_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(numbers, np.float32), name))
        return name

    def reshape(self, name: str, *target: int | str) -> str:
        """Reshape to numbers; a word ``"=k"`` copies axis k of the input by shape arithmetic.

        Zero copies the axis at the same place and -1 takes the rest, as ONNX has it.
        """
        if all(isinstance(entry, int) for entry in target):
            return self.op("Reshape", name, self.ints(*(int(entry) for entry in target)))
        shape, parts = self.op("Shape", name), []
        for entry in target:
            if isinstance(entry, int):
                parts.append(self.ints(entry))
                continue
            axis = int(entry[1:])
            if self.chance(0.5):
                picked = self.op("Gather", shape, self.const(np.int64(axis)), axis=0)
                parts.append(self.unsqueeze(picked, 0))
            else:
                parts.append(self.slice(shape, [0], [axis], [axis + 1]))
        return self.op("Reshape", name, self.concat(parts, 0))

    def batch(self, dims: Sequence[int | str]) -> list[int | str]:
        """A reshape's target whose first entry keeps the batch, in one of three ways."""
        return [self.pick([0, "=0"]), *dims]
