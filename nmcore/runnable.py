"""Inputs of shapes on which a model runs, where it leaves sizes open: random ones.

No graph states which sizes its dynamic axes may have, so usual ones are tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.dividing import Divided
from nmcore.errors import ArgumentError, DataError, ModelError
from nmcore.plugins import InputSpec, Session
from nmcore.wording import shape_text

Array = NDArray[Any]

# What dynamic axes become in random inputs: sizes of pictures, and of everything else. Both are
# multiples of 32, since networks that halve their input five times want that.
IMAGE_SIZE = 224
SEQUENCE_SIZE = 32
TRIAL_SIZES = ((IMAGE_SIZE, SEQUENCE_SIZE), (256, 512), (640, 16000), (64, 1), (32, 8))
# Nobody feeds an input of more numbers than this, but a few bytes of a file can ask for one.
MAX_NUMBERS = 2**30
# Integer inputs are indices into tables of unknown length; these exist in nearly all of them.
SMALL_IDS = 8


def random_inputs(
    inputs: Sequence[InputSpec],
    *,
    seed: int = 0,
    image_size: int = IMAGE_SIZE,
    sequence_size: int = SEQUENCE_SIZE,
) -> dict[str, Array]:
    """Return one random input of every kind that a model wants.

    Dynamic axes get a stated size: those of pictures (rank 4) ``image_size``, others
    ``sequence_size``, the batch and what looks like a number of channels 1. Floats are standard
    normal, as normalised inputs are; integers are small, since they are indices more often than
    not; bytes use their whole range; booleans are true, since they are masks.

    Examples
    --------
    >>> spec = InputSpec("ids", (None, None), np.dtype(np.int64))
    >>> random_inputs([spec])["ids"].shape
    (1, 32)
    """
    rng = np.random.default_rng(seed)
    shapes = assumed_shapes(inputs, image_size, sequence_size)
    return {
        spec.name: _random(rng, shape, spec) for spec, shape in zip(inputs, shapes, strict=True)
    }


def assumed_shapes(
    inputs: Sequence[InputSpec],
    image_size: int = IMAGE_SIZE,
    sequence_size: int = SEQUENCE_SIZE,
) -> list[tuple[int, ...]]:
    """A shape of each input, as :func:`assumed_shape` makes it; axes of one name have one length.

    Examples
    --------
    >>> kind = np.dtype(np.float32)
    >>> sound = InputSpec("sound", (None, None), kind, ("batch", "time"))
    >>> state = InputSpec("state", (2, None, None, 64), kind, (None, "batch", "heads", None))
    >>> assumed_shapes([sound, state])
    [(1, 32), (2, 1, 224, 64)]
    """
    lengths = dict.fromkeys(_leading_symbols(inputs), 1)
    shapes = []
    for spec in inputs:
        symbols = spec.symbols or (None,) * len(spec.shape)
        known = [
            size if symbol is None else lengths.get(symbol, size)
            for size, symbol in zip(spec.shape, symbols, strict=True)
        ]
        shape = assumed_shape(known, image_size, sequence_size)
        for symbol, size in zip(symbols, shape, strict=True):
            if symbol is not None:
                lengths.setdefault(symbol, size)
        shapes.append(shape)
    return shapes


def batch_axis(spec: InputSpec, inputs: Sequence[InputSpec]) -> int:
    """The axis that counts inputs: the first, or one that is named like the first of another.

    Examples
    --------
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
    >>> assumed_shape((2, None, 128))  # (layers, batch, hidden), the state of a recurrent network
    (2, 1, 128)
    """
    long = image_size if len(shape) == 4 else sequence_size
    ones = {0}
    if len(shape) == 3 and (shape[2] is None or shape[0] not in (None, 1)):
        ones.add(1)
    sizes = (1 if axis in ones else long for axis in range(len(shape)))
    return tuple(
        default if size is None else size for size, default in zip(shape, sizes, strict=True)
    )


def runnable_inputs(session: Session, *, seed: int = 0) -> dict[str, Array]:
    """Return random inputs on which a loaded model runs.

    Sizes of dynamic axes hide conditions (multiples of 32, at least some length) that no graph
    states, so a few are tried.

    Raises
    ------
    ModelError
        It runs on none of them.
    """
    fixed = any(spec.shape and spec.shape[0] is not None for spec in session.inputs)
    for image_size, sequence_size in TRIAL_SIZES:
        feeds = random_inputs(
            session.inputs, seed=seed, image_size=image_size, sequence_size=sequence_size
        )
        try:
            next(Divided(session, divisible=False)(feeds)) if fixed else session.run(feeds)
        except ModelError as error:
            problem = error
        else:
            return feeds
    raise type(problem)(f"{problem} (tried on random inputs of several sizes)")


def check_makeable(name: str, shape: Sequence[int], count: int = 1) -> None:
    """Refuse to make inputs of more numbers than anybody has memory for.

    Parameters
    ----------
    name : str
        The model's input.
    shape : sequence of int
        Of one input, with a batch axis of any length or none.
    count : int
        How many there shall be.

    Raises
    ------
    DataError
        One is too large.
    ArgumentError
        They are too many.

    Examples
    --------
    >>> check_makeable("x", (1, 3, 224, 224), 10**12)
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: samples is 1000000000000; at most 7133 inputs 'x' can be made
    """
    most = MAX_NUMBERS // max(1, math.prod(shape))
    if most < 1:
        raise DataError(
            f"the model's input {name} of shape {shape_text(shape)} is too large to be made"
        )
    if count > most:
        raise ArgumentError(f"samples is {count}; at most {most} inputs {name!r} can be made")


def _random(rng: np.random.Generator, shape: tuple[int, ...], spec: InputSpec) -> Array:
    dtype = spec.dtype
    check_makeable(spec.name, shape)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return np.ones(shape, dtype)
    if dtype.kind in "ui":
        return rng.integers(0, 256 if dtype == np.uint8 else SMALL_IDS, shape).astype(dtype)
    raise DataError(f"the model's input {spec.name} takes {dtype}, of which no random one is made")
