"""The inputs that models are compared on: those given, those of a file, or synthetic ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nmcore.calibration.random_inputs import check_makeable, runnable_inputs
from nmcore.calibration.synthetic import synthesise
from nmcore.data.dataset import Dataset
from nmcore.data.feeds import Data, NamedInputs
from nmcore.data.images import load_pictures
from nmcore.data.loading import (
    IN_MEMORY,
    DataLike,
    arrays_of,
    check_finite,
    in_memory,
    load,
    load_arrays,
    normalised,
)
from nmcore.data.normalisation import Normalisation, normalisation
from nmcore.errors import DataError
from nmcore.group import Array
from nmcore.plugins.protocols import InputSpec, Session
from nmcore.utils.text import shape_text

# How many inputs are made where there is no data.
MADE = 64


def data_for(
    session: Session,
    data: DataLike | NamedInputs | None,
    *,
    samples: int | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
) -> Data:
    """The inputs to compare models on: those given, those of a file, or made ones.

    Parameters
    ----------
    session : Session
        The first model; it says how many inputs it has, and which.
    data : path, array, mapping of str to array, sequence of path, NamedInputs or None
        A file or a mapping holds ``x``, or for a model with several inputs an array for each, by
        its name.
    samples, scale, mean, std
        See :func:`nmcore.data.loading.load`; what is made goes through the same.
    seed : int
        For made inputs.

    Raises
    ------
    DataError
        The file cannot be read or does not fit, or no inputs can be made.
    """
    steps = normalisation(scale, mean, std)
    if data is None:
        return made(session, samples or MADE, seed=seed, normalisation=steps)
    if isinstance(data, Dataset):
        data = normalised(data, steps)
        return data if samples is None else data.first(samples)
    if isinstance(data, NamedInputs):
        if steps is not None:
            raise DataError(f"{data.name} is fed as it is; leave out scale, mean and std")
        return data if samples is None else data.first(samples)
    if len(session.inputs) == 1:
        return _single(session.inputs[0], data, samples, scale=scale, mean=mean, std=std)
    if steps is not None:
        raise DataError("scale, mean and std are for models with one input; this has several")
    return _named(data, session.inputs, samples)


def _single(spec: InputSpec, data: DataLike, samples: int | None, **form: Any) -> Dataset:
    """The inputs of a model with one."""
    if isinstance(data, (str, Path)):
        return load(data, samples=samples, **form)
    found = in_memory(data, samples=samples, **form)
    if isinstance(found, Dataset):
        return found
    return load_pictures(found, spec, samples or len(found), normalisation(**form))


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


def made(
    session: Session, count: int, *, seed: int = 0, normalisation: Normalisation | None = None
) -> Data:
    """Inputs made for a model, of a shape on which it runs.

    See :func:`nmcore.calibration.synthetic.synthesise`.

    Raises
    ------
    ModelError, DataError
        It runs on none that was tried, or takes what cannot be made.
    """
    shapes = {name: array.shape for name, array in runnable_inputs(session, seed=seed).items()}
    specs = session.inputs
    if len(specs) == 1 and specs[0].shape:
        (spec,) = specs
        batches = synthesise(
            specs, [shapes[spec.name]], count, seed=seed, normalisation=normalisation
        ).batches
        x = np.concatenate([feeds[spec.name] for feeds in batches])
        return Dataset("synthetic inputs", x)

    def one(spec: InputSpec, number: int) -> Array:
        shape = shapes[spec.name]
        length = shape[0] if shape else 1
        probes = synthesise(
            [spec], [shape], length, seed=seed + number, normalisation=normalisation
        )
        return probes.batches[0][spec.name]

    for spec in specs:
        check_makeable(spec.name, shapes[spec.name], count)
    arrays = {spec.name: np.stack([one(spec, k) for k in range(count)]) for spec in specs}
    return NamedInputs("synthetic inputs", arrays)
