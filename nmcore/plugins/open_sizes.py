"""Sizes for the axes that a model leaves open."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from nmcore.errors import ArgumentError
from nmcore.plugins.inputs import InputSpec
from nmcore.utils.text import shape_text, sizes_text

# What dynamic axes become in random inputs: sizes of pictures, and of everything else. Both are
# multiples of 32, since networks that halve their input five times want that.
IMAGE_SIZE = 224
SEQUENCE_SIZE = 32
# An input of more numbers than this has open axes of less than the usual length.
_MOST_NUMBERS = 2**25
# The shapes that a user states, by the names of inputs; "" stands for a model's only one.
Stated = Mapping[str, Sequence[int]]


def with_stated(inputs: Sequence[InputSpec], stated: Stated) -> tuple[InputSpec, ...]:
    """The inputs with the sizes that a user states in place of open axes.

    Axes of one name have one length, in all inputs. The axis that counts inputs stays open where
    its length is stated as 1.

    Raises
    ------
    ArgumentError
        An input is not there, or has other axes.

    Examples
    --------
    >>> import numpy as np
    >>> kind = np.dtype(np.float32)
    >>> image = InputSpec("image", (None, 3, None, None), kind)
    >>> with_stated([image], {"": (1, 3, 640, 480)})[0].shape
    (None, 3, 640, 480)
    >>> with_stated([image], {"image": (1, 1, 640, 480)})
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: input-shape of image is 1x1x640x480; the model ... (n, 3, ?, ?)
    """
    named = {spec.name: spec for spec in inputs}
    known: dict[str, int] = {}
    own: dict[str, Sequence[int]] = {}
    for name, shape in stated.items():
        spec = _spec_of(name, named)
        _check_stated(spec, shape)
        own[spec.name] = shape
        for symbol, size, given in zip(_symbols(spec), spec.shape, shape, strict=True):
            if symbol is not None and size is None and known.setdefault(symbol, given) != given:
                raise ArgumentError(
                    f"input-shape gives the axis {symbol!r} of {spec.name} the length {given}, "
                    f"and {known[symbol]} elsewhere; in the model it is the same"
                )
    found = [
        _with_sizes(spec, own.get(spec.name, ()), known, batch_axis(spec, inputs))
        for spec in inputs
    ]
    return tuple(_with_sums(spec, known) for spec in found)


def _with_sums(spec: InputSpec, known: Mapping[str, int]) -> InputSpec:
    """An input whose axes are sums, as of past and new positions, with what is known of them."""
    sizes, symbols = list(spec.shape), list(_symbols(spec))
    for axis, symbol in enumerate(symbols):
        if symbol is None or "+" not in symbol:
            continue
        left = " + ".join(str(known.get(term, term)) for term in _terms(symbol))
        total = _sum_of(left, {})
        sizes[axis], symbols[axis] = total, None if total is not None else left
    return replace(spec, shape=tuple(sizes), symbols=tuple(symbols))


def _terms(symbol: str) -> list[str]:
    return [term.strip() for term in symbol.split("+")]


def _sum_of(symbol: str, lengths: Mapping[str, int]) -> int | None:
    """How long an axis is whose name is a sum; None where a term is not known."""
    terms = _terms(symbol)
    known = [int(term) if term.isdecimal() else lengths.get(term) for term in terms]
    found = [term for term in known if term is not None]
    return sum(found) if len(found) == len(terms) > 1 else None


def _spec_of(name: str, named: Mapping[str, InputSpec]) -> InputSpec:
    has = ", ".join(named) or "none"
    if name in named:
        return named[name]
    if name:
        raise ArgumentError(f"input-shape names the input {name}, but the model's are: {has}")
    if len(named) != 1:
        raise ArgumentError(f"input-shape needs the name of an input of the model, of: {has}")
    return next(iter(named.values()))


def _check_stated(spec: InputSpec, shape: Sequence[int]) -> None:
    fits = len(shape) == len(spec.shape)
    if not fits or any(w not in (None, g) for w, g in zip(spec.shape, shape, strict=True)):
        raise ArgumentError(
            f"input-shape of {spec.name} is {sizes_text(shape)}; the model takes "
            f"{shape_text(spec.shape)}"
        )


def _with_sizes(
    spec: InputSpec, shape: Sequence[int], known: Mapping[str, int], counting: int
) -> InputSpec:
    sizes, symbols = list(spec.shape), list(_symbols(spec))
    for axis, (size, symbol) in enumerate(zip(spec.shape, _symbols(spec), strict=True)):
        given = shape[axis] if shape else known.get(symbol or "")
        if size is None and given is not None and (axis, given) != (counting, 1):
            sizes[axis], symbols[axis] = given, None
    return replace(spec, shape=tuple(sizes), symbols=tuple(symbols))


def _symbols(spec: InputSpec) -> tuple[str | None, ...]:
    return spec.symbols or (None,) * len(spec.shape)


def guessed(inputs: Sequence[InputSpec]) -> Iterator[InputSpec]:
    """The inputs of which more is open than how many there are.

    >>> import numpy as np
    >>> [each.name for each in guessed([InputSpec("x", (None, 4), np.dtype(np.float32))])]
    []
    """
    for spec in inputs:
        counting = batch_axis(spec, inputs)
        if any(size is None and axis != counting for axis, size in enumerate(spec.shape)):
            yield spec


def assumed_shapes(
    inputs: Sequence[InputSpec],
    image_size: int = IMAGE_SIZE,
    sequence_size: int = SEQUENCE_SIZE,
    steps: Collection[tuple[str, int]] = (),
    past: int = 0,
) -> list[tuple[int, ...]]:
    """A shape of each input, as :func:`assumed_shape` makes it; axes of one name have one length.

    ``steps`` are inputs by name and axes of them that count steps, also where they come first.
    What :attr:`~nmcore.plugins.inputs.InputSpec.grows` is ``past`` long, or as long as others of
    the kind where that is known. An axis whose name is a sum of others' names is that long.

    Examples
    --------
    >>> import numpy as np
    >>> kind = np.dtype(np.float32)
    >>> sound = InputSpec("sound", (None, None), kind, ("batch", "time"))
    >>> state = InputSpec("state", (2, None, None, 64), kind, (None, "batch", "heads", None))
    >>> assumed_shapes([sound, state])
    [(1, 32), (2, 1, 224, 64)]
    >>> keys = InputSpec("keys", (None, 4, None, 8), kind, ("n", None, "p", None), grows=2)
    >>> mask = InputSpec("mask", (None, None), np.dtype(np.int64), ("n", "p + s"))
    >>> assumed_shapes([keys, mask, InputSpec("ids", (None, None), kind, ("n", "s"))], past=8)
    [(1, 4, 8, 8), (1, 40), (1, 32)]
    """
    lengths = dict.fromkeys(_leading_symbols(inputs), 1)
    for spec in inputs:
        found = {symbol for axis, symbol in enumerate(spec.symbols) if (spec.name, axis) in steps}
        lengths |= {symbol: sequence_size for symbol in found if symbol is not None}
    growing = [(spec, spec.grows) for spec in inputs if spec.grows is not None]
    past = next(filter(None, (spec.shape[axis] for spec, axis in growing)), past)
    lengths |= {str(_symbols(spec)[axis]): past for spec, axis in growing}
    shapes = {}
    for spec in sorted(inputs, key=_has_sum):
        symbols = _symbols(spec)
        known = [
            size if symbol is None else lengths.get(symbol, size)
            for size, symbol in zip(spec.shape, symbols, strict=True)
        ]
        for axis, size in enumerate(known):
            if size is None and (spec.name, axis) in steps:
                known[axis] = sequence_size
            elif size is None and axis == spec.grows:
                known[axis] = past
            elif size is None and _has_sum(spec):
                known[axis] = _sum_of(str(symbols[axis]), lengths)
            elif size is None and past and _is_total(spec, axis, inputs):
                known[axis] = past + sequence_size
        shape = assumed_shape(known, image_size, sequence_size)
        for symbol, size in zip(symbols, shape, strict=True):
            if symbol is not None:
                lengths.setdefault(symbol, size)
        shapes[spec.name] = shape
    return [shapes[spec.name] for spec in inputs]


def _is_total(spec: InputSpec, axis: int, inputs: Sequence[InputSpec]) -> bool:
    """Whether an axis is likely to count past and new positions: of a mask, and of it alone."""
    named = [symbol for each in inputs for symbol in each.symbols]
    alone = named.count(_symbols(spec)[axis]) == 1
    return "mask" in spec.name.lower() and alone and axis == len(spec.shape) - 1


def _has_sum(spec: InputSpec) -> bool:
    return any("+" in symbol for symbol in spec.symbols if symbol is not None)


def batch_axis(spec: InputSpec, inputs: Sequence[InputSpec]) -> int:
    """The axis that counts inputs: the first, or one that is named like the first of another.

    Examples
    --------
    >>> import numpy as np
    >>> kind = np.dtype(np.float32)
    >>> sound = InputSpec("sound", (None, None), kind, ("batch", "time"))
    >>> state = InputSpec("state", (2, None, 128), kind, (None, "batch", None))
    >>> batch_axis(sound, [sound, state]), batch_axis(state, [sound, state])
    (0, 1)
    """
    if spec.shape and spec.shape[0] is None:
        return 0
    leading = _leading_symbols(inputs)
    named = (axis for axis, symbol in enumerate(spec.symbols) if symbol in leading)
    return next(named, 0)


def are_apart(inputs: Sequence[InputSpec]) -> bool:
    """Whether inputs of several runs cannot be joined along their first axes.

    It is so where a first axis counts something else, such as layers or steps: another axis counts
    inputs, or is named like the first of another input, or first axes have different fixed lengths.

    Examples
    --------
    >>> import numpy as np
    >>> kind = np.dtype(np.float32)
    >>> steps = InputSpec("x", (None, None, 8), kind, ("steps", "batch", None))
    >>> lengths = InputSpec("lengths", (None,), np.dtype(np.int32), ("batch",))
    >>> are_apart([steps]), are_apart([steps, lengths])
    (False, True)
    >>> are_apart([InputSpec("x", (5, 2, 8), kind), InputSpec("h", (1, 2, 4), kind)])
    True
    """
    if any(batch_axis(spec, inputs) for spec in inputs):
        return True
    leading = _leading_symbols(inputs)
    fixed = {spec.shape[0] for spec in inputs if spec.shape} - {None}
    return len(fixed) > 1 or any(leading.intersection(spec.symbols[1:]) for spec in inputs)


def _leading_symbols(inputs: Sequence[InputSpec]) -> set[str]:
    return {spec.symbols[0] for spec in inputs if spec.symbols and spec.symbols[0] is not None}


def assumed_shape(
    shape: Sequence[int | None],
    image_size: int = IMAGE_SIZE,
    sequence_size: int = SEQUENCE_SIZE,
) -> tuple[int, ...]:
    """Fill in the dynamic axes, whose lengths no model states: one input, of a usual size.

    Axes of rank 3 are told apart by what else is fixed.

    Examples
    --------
    >>> assumed_shape((None, 3, None, None))  # (batch, channels, height, width)
    (1, 3, 224, 224)
    >>> assumed_shape((None, None, 80))  # (batch, time, features)
    (1, 32, 80)
    >>> assumed_shape((None, None, None))  # (batch, channels, time)
    (1, 1, 32)
    >>> assumed_shape((None, None, 1024, 4096))  # nothing of this size has 224 channels
    (1, 7, 1024, 4096)
    >>> assumed_shape((2, None, 128))  # (layers, batch, hidden), the state of a recurrent network
    (2, 1, 128)
    """
    long = image_size if len(shape) == 4 else sequence_size
    ones = {0}
    if len(shape) == 3 and (shape[2] is None or shape[0] not in (None, 1)):
        ones.add(1)
    fixed = math.prod(size for size in shape if size is not None)
    free = sum(size is None and axis not in ones for axis, size in enumerate(shape))
    while free and long > 1 and fixed * long**free > _MOST_NUMBERS:
        long //= 2
    sizes = (1 if axis in ones else long for axis in range(len(shape)))
    return tuple(
        default if size is None else size for size, default in zip(shape, sizes, strict=True)
    )
