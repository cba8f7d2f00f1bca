"""Random inputs of shapes on which a model runs, where it leaves sizes open.

No graph states which sizes its dynamic axes may have, so usual ones are tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from nmcore.calibration.token_ids import SMALL_IDS, takes_ids, token_ids
from nmcore.data.batches import BatchRunner
from nmcore.errors import ArgumentError, DataError, ModelError
from nmcore.group import Array
from nmcore.plugins.inputs import InputHint, InputSpec
from nmcore.plugins.open_sizes import IMAGE_SIZE, SEQUENCE_SIZE, assumed_shapes
from nmcore.plugins.protocols import Graph, Informative, Session
from nmcore.plugins.states import with_hints
from nmcore.utils.text import shape_text

TRIAL_SIZES = ((IMAGE_SIZE, SEQUENCE_SIZE), (256, 512), (640, 16000), (64, 1), (32, 8))
# Nobody feeds an input of more numbers than this, but a few bytes of a file can ask for one.
MAX_NUMBERS = 2**30
# Text is passed through, or looked up and not found.
WORD = "0"


def random_inputs(
    inputs: Sequence[InputSpec],
    *,
    seed: int = 0,
    image_size: int = IMAGE_SIZE,
    sequence_size: int = SEQUENCE_SIZE,
    hints: Mapping[str, InputHint] | None = None,
    past: int = 0,
) -> dict[str, Array]:
    """Return one random input of every kind that a model wants.

    Dynamic axes get a stated size: those of pictures (rank 4) ``image_size``, others
    ``sequence_size``, those of the past ``past``, the batch and what looks like a number of
    channels 1. Floats are standard
    normal, as normalised inputs are; integers are places in the tables that the hints tell of, and
    small where they tell of none; bytes use their whole range; booleans are true, since they are
    masks; text is the same.

    Examples
    --------
    >>> spec = InputSpec("ids", (None, None), np.dtype(np.int64))
    >>> random_inputs([spec])["ids"].shape
    (1, 32)
    """
    rng = np.random.default_rng(seed)
    hints = hints or {}
    counted = {hint.steps_of for hint in hints.values() if hint.steps_of is not None}
    inputs = with_hints(inputs, hints)
    shapes = assumed_shapes(inputs, image_size, sequence_size, steps=counted, past=past)
    if inputs and not any(map(math.prod, shapes)):
        raise DataError(
            f"the model's input {inputs[0].name!r} has shape {shape_text(shapes[0])}: "
            "nothing can be measured on inputs without numbers"
        )
    hints = _with_steps(hints, inputs, shapes)
    return {
        spec.name: _random(rng, shape, spec, hints.get(spec.name, InputHint()))
        for spec, shape in zip(inputs, shapes, strict=True)
    }


def random_inputs_for(
    session: Session,
    *,
    seed: int = 0,
    hints: Mapping[str, InputHint] | None = None,
    past: int = 0,
) -> dict[str, Array]:
    """Return random inputs on which a loaded model runs; see :func:`runnable`."""
    return runnable(session, seed=seed, hints=hints, past=past)[0]


def runnable(
    session: Session,
    *,
    seed: int = 0,
    hints: Mapping[str, InputHint] | None = None,
    past: int = 0,
) -> tuple[dict[str, Array], Mapping[str, InputHint]]:
    """Return random inputs on which a loaded model runs, and what has to be known of others.

    Sizes of dynamic axes hide conditions (multiples of 32, at least some length) that no graph
    states, so a few are tried. Tables of few rows want smaller ids; which of the inputs they are of
    is found out where ``hints``, what the graph tells, do not say or are not all. What is of the
    past is ``past`` long where the model runs on that, else of length 0.

    Raises
    ------
    ModelError
        It runs on none of them.
    """
    fixed = any(spec.shape and spec.shape[0] is not None for spec in session.inputs)
    problem: ModelError | None = None
    grow = any(spec.grows is not None for spec in with_hints(session.inputs, hints or {}))
    sizes_of_trials = [(*sizes, past) for sizes in TRIAL_SIZES] if past and grow else []
    sizes_of_trials += [(*sizes, 0) for sizes in TRIAL_SIZES]
    for known in _narrower(session.inputs, hints or {}):
        for image_size, sequence_size, length in sizes_of_trials:
            feeds = random_inputs(
                session.inputs,
                seed=seed,
                image_size=image_size,
                sequence_size=sequence_size,
                hints=known,
                past=length,
            )
            try:
                next(BatchRunner(session, divisible=False)(feeds)) if fixed else session.run(feeds)
            except ModelError as error:
                problem = problem or error
            else:
                sizes = [feeds[spec.name].shape for spec in session.inputs]
                return feeds, _with_steps(known, session.inputs, sizes)
    assert problem is not None
    raise type(problem)(f"{problem} (tried on random inputs of several sizes)")


def _with_steps(
    hints: Mapping[str, InputHint], inputs: Sequence[InputSpec], shapes: Sequence[tuple[int, ...]]
) -> Mapping[str, InputHint]:
    """The hints, with the lengths of axes whose entries are counted."""
    sizes = {spec.name: shape for spec, shape in zip(inputs, shapes, strict=True)}
    return {
        name: hint
        if hint.steps_of is None
        else replace(hint, steps=sizes[hint.steps_of[0]][hint.steps_of[1]])
        for name, hint in hints.items()
    }


def _narrower(
    inputs: Sequence[InputSpec], hints: Mapping[str, InputHint]
) -> Iterator[Mapping[str, InputHint]]:
    """What is known, and then smaller ids: for each input by itself, and for all of them."""
    yield hints
    names = [spec.name for spec in inputs if takes_ids(spec.dtype)]
    alone = [[name] for name in names] if len(names) > 1 else []
    for rows, chosen in (
        (2, alone),
        (1, alone),
        (SMALL_IDS, [names]),
        (2, [names]),
        (1, [names]),
    ):
        for some in filter(None, chosen):
            yield {**hints, **{name: _of_rows(hints, name, rows) for name in some}}


def _of_rows(hints: Mapping[str, InputHint], name: str, most: int) -> InputHint:
    """What is known of an input, with ids below ``most``."""
    hint = hints.get(name, InputHint())
    return replace(hint, ids=min(most, hint.ids or most))


def hints_of(graph: Graph) -> Mapping[str, InputHint]:
    """What a graph tells of its inputs, by their names."""
    return graph.input_hints() if isinstance(graph, Informative) else {}


def check_affordable(name: str, shape: Sequence[int], count: int = 1) -> None:
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
    >>> check_affordable("x", (1, 3, 224, 224), 10**12)
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: samples is 1000000000000; at most 7133 inputs 'x' can be made
    """
    most = MAX_NUMBERS // max(1, math.prod(shape))
    if most < 1:
        raise DataError(
            f"the model's input {name!r} of shape {shape_text(shape)} is too large to be made"
        )
    if count > most:
        raise ArgumentError(f"samples is {count}; at most {most} inputs {name!r} can be made")


def _random(
    rng: np.random.Generator, shape: tuple[int, ...], spec: InputSpec, hint: InputHint
) -> Array:
    dtype = spec.dtype
    check_affordable(spec.name, shape)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return np.ones(shape, dtype)
    if dtype.kind == "O":
        return np.full(shape, WORD, dtype)
    if takes_ids(dtype):
        return token_ids(rng, shape, spec, hint)
    if dtype == np.uint8:
        return rng.integers(0, 256, shape).astype(dtype)
    raise DataError(
        f"the model's input {spec.name!r} takes {dtype}, of which no random one is made"
    )
