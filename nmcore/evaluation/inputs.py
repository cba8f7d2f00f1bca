"""The inputs that models are compared on: those given, those of a file, or synthetic ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nmcore.calibration.random_inputs import check_affordable, runnable
from nmcore.calibration.synthetic import synthesise
from nmcore.data.dataset import Dataset
from nmcore.data.feeds import Data, NamedInputs
from nmcore.data.images import Pictures
from nmcore.data.loading import (
    IN_MEMORY,
    DataLike,
    arrays_of,
    check_finite,
    load_arrays,
    open_data,
)
from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError
from nmcore.group import Array
from nmcore.plugins.protocols import InputHint, InputSpec, Session
from nmcore.utils.text import shape_text

# How many synthetic inputs there are where there is no data.
SYNTHETIC = 64


def data_for(
    session: Session,
    data: DataLike | NamedInputs | None,
    steps: Normalisation | None = None,
    *,
    samples: int | None = None,
    seed: int = 0,
    hints: Mapping[str, InputHint] | None = None,
) -> Data:
    """The inputs to compare models on: those given, those of a file, or synthetic ones.

    Parameters
    ----------
    session : Session
        The first model; it says how many inputs it has, and which.
    data : path, array, mapping of str to array, sequence of path, NamedInputs or None
        A file or a mapping holds ``x``, or for a model with several inputs an array for each, by
        its name.
    steps : Normalisation or None
        What raw inputs go through, synthetic ones as well.
    samples : int, optional
        Use the first so many, or make so many.
    seed : int
        For synthetic inputs.
    hints : mapping of str to InputHint, optional
        What the first model's graph tells of its inputs, for synthetic ones.

    Raises
    ------
    DataError
        The file cannot be read or does not fit, or no inputs can be made.
    """
    if data is None:
        return synthetic_data(
            session, samples or SYNTHETIC, seed=seed, normalisation=steps, hints=hints
        )
    if isinstance(data, NamedInputs):
        if steps is not None:
            raise DataError(f"{data.name} is fed as it is; leave out scale, mean and std")
        return data if samples is None else data.first(samples)
    if len(session.inputs) == 1:
        given = open_data(data, steps)
        assert given is not None
        every = len(given.files()) if isinstance(given, Pictures) else len(given)
        found = given.for_model(session.inputs, samples or every)
        return found if samples is None else found.first(samples)
    if steps is not None:
        raise DataError("scale, mean and std are for models with one input; this has several")
    return _named(data, session.inputs, samples)


def _named(data: DataLike, inputs: Sequence[InputSpec], samples: int | None) -> NamedInputs:
    names = [spec.name for spec in inputs]
    if isinstance(data, (str, Path)):
        path, (arrays, y) = str(data), load_arrays(data, names)
    elif isinstance(data, Mapping):
        path, (arrays, y) = IN_MEMORY, arrays_of(data, names)
    else:
        path, arrays, y = IN_MEMORY, {}, None
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DataError(
            f"{path} holds no array named {missing[0]}; the model has several inputs, "
            f"and needs an array of the name of each: {', '.join(names)}"
        )
    lengths = {len(array) if array.ndim else 0 for array in arrays.values()}
    if y is not None:
        lengths.add(len(y))
    if len(lengths) > 1 or 0 in lengths:
        shapes = ", ".join(f"{name} {shape_text(array.shape)}" for name, array in arrays.items())
        raise DataError(f"{path}: arrays of one length, above 0, are needed; it holds {shapes}")
    some = slice(samples)
    arrays = {name: array[some] for name, array in arrays.items()}
    for name, array in arrays.items():
        check_finite(path, name, array)
    return NamedInputs(path, arrays, None if y is None else y[some])


def synthetic_data(
    session: Session,
    count: int,
    *,
    seed: int = 0,
    normalisation: Normalisation | None = None,
    hints: Mapping[str, InputHint] | None = None,
) -> Data:
    """Synthetic inputs for a model, of a shape on which it runs, that nothing was measured on.

    See :func:`nmcore.calibration.synthetic.synthesise`.

    Raises
    ------
    ModelError, DataError
        It runs on none that was tried, or takes what cannot be made.
    """
    specs = session.inputs
    if not specs:
        raise DataError("the model has no inputs, and gives the same each time")
    feeds, hints = runnable(session, seed=seed, hints=hints)
    shapes = {name: array.shape for name, array in feeds.items()}
    if len(specs) == 1 and specs[0].shape:
        (spec,) = specs
        batches = synthesise(
            specs,
            [shapes[spec.name]],
            count,
            seed=seed,
            normalisation=normalisation,
            hints=hints,
            unseen=True,
        ).batches
        x = np.concatenate([feeds[spec.name] for feeds in batches])
        return Dataset("synthetic inputs", x)

    def one(spec: InputSpec, number: int) -> Array:
        shape = shapes[spec.name]
        if not math.prod(shape):
            return np.zeros(shape, spec.dtype)
        length = shape[0] if shape else 1
        calibration = synthesise(
            [spec],
            [shape],
            length,
            seed=seed + number,
            normalisation=normalisation,
            hints=hints,
            unseen=True,
        )
        return calibration.batches[0][spec.name]

    for spec in specs:
        check_affordable(spec.name, shapes[spec.name], count)
    arrays = {spec.name: np.stack([one(spec, k) for k in range(count)]) for spec in specs}
    return NamedInputs("synthetic inputs", arrays)
