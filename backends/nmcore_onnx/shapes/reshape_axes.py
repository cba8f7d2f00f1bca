"""Which axes of a Reshape's input become which axes of its output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nmcore_onnx.ir.types import Dim


@dataclass(frozen=True)
class Segment:
    """Neighbouring input axes that hold the same elements as neighbouring output axes."""

    ins: tuple[int, ...]
    outs: tuple[int, ...]


def match(source: Sequence[Dim], target: Sequence[Dim], axis: int) -> Segment | None:
    """The segment that ``axis`` of the source belongs to, or None where that is not certain.

    Both shapes are eaten from both ends: equal sizes pair up, numbers multiply until they agree,
    and -1 in the target takes what is left in the middle.

    Examples
    --------
    >>> match(["n", 16, 5, 5], [-1, 400], 1)
    Segment(ins=(1, 2, 3), outs=(1,))
    >>> match(["n", 64, "h", "w"], ["n", 64, -1], 1)
    Segment(ins=(1,), outs=(1,))
    >>> match(["n", "h", "w", 64], ["n", -1], 3)
    Segment(ins=(1, 2, 3), outs=(1,))
    """
    segments: list[Segment] = []
    right = _eat(source, target, segments, from_right=True)
    left = _eat(source[: right[0]], target[: right[1]], segments, from_right=False)
    ins, outs = range(left[0], right[0]), range(left[1], right[1])
    if ins and outs:
        segments.append(Segment(tuple(ins), tuple(outs)))
    for segment in segments:
        if axis in segment.ins:
            return _without_ones(segment, source, target)
    return None


def _eat(
    source: Sequence[Dim], target: Sequence[Dim], segments: list[Segment], *, from_right: bool
) -> tuple[int, int]:
    """Pair up axes from one end; return how far it came (ends if from the right, else starts)."""
    step = -1 if from_right else 1
    ins = list(range(len(source)))[::step]
    outs = list(range(len(target)))[::step]
    i = j = 0
    while i < len(ins) and j < len(outs):
        found = _pair([source[k] for k in ins[i:]], [target[k] for k in outs[j:]])
        if found is None:
            break
        used_in, used_out = found
        pair_ins, pair_outs = ins[i : i + used_in], outs[j : j + used_out]
        segments.append(Segment(tuple(sorted(pair_ins)), tuple(sorted(pair_outs))))
        i, j = i + used_in, j + used_out
    return (len(source) - i, len(target) - j) if from_right else (i, j)


def _pair(source: list[Dim], target: list[Dim]) -> tuple[int, int] | None:
    """How many leading axes of both hold the same number of elements, as few as possible."""
    if source[0] == target[0] and target[0] != -1:
        return 1, 1
    used = [0, 0]
    product = [1, 1]
    while product[0] != product[1] or not all(used):
        side = 0 if not used[0] or (used[1] and product[0] < product[1]) else 1
        dims = source if side == 0 else target
        if used[side] == len(dims):
            return None
        size = dims[used[side]]
        if not isinstance(size, int) or size < 1:
            return None
        product[side] *= size
        used[side] += 1
    return used[0], used[1]


def _without_ones(segment: Segment, source: Sequence[Dim], target: Sequence[Dim]) -> Segment:
    """Drop the output axes of length one where a single longer one holds everything."""
    longer = [out for out in segment.outs if target[out] != 1]
    if len(longer) == 1 and len(segment.outs) > 1:
        return Segment(segment.ins, (longer[0],))
    return segment
