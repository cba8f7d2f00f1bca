"""The inputs that models are compared on: those given, those of a file, or synthetic ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nmcore.calibration.random_inputs import check_affordable, runnable
from nmcore.calibration.states import along
from nmcore.calibration.synthetic import synthesise
from nmcore.data.dataset import Dataset
from nmcore.data.folder import Folder
from nmcore.data.loading import DataLike, open_data
from nmcore.data.normalisation import Normalisation
from nmcore.data.sounds import Sounds
from nmcore.errors import DataError
from nmcore.group import Array
from nmcore.plugins.inputs import InputHint
from nmcore.plugins.protocols import Session
from nmcore.plugins.states import following

# How many synthetic inputs there are where there is no data.
SYNTHETIC = 64


def data_for(
    session: Session,
    data: DataLike | None,
    steps: Normalisation | None = None,
    *,
    samples: int | None = None,
    seed: int = 0,
    hints: Mapping[str, InputHint] | None = None,
    labels: Path | None = None,
) -> Dataset:
    """The inputs to compare models on: those given, those of a file, or synthetic ones.

    Parameters
    ----------
    session : Session
        The first model; it says how many inputs it has, and which.
    data : path, array, mapping, sequence of path, iterable of mapping, reader or None
        As for :func:`nmcore.data.loading.open_data`.
    steps : Normalisation or None
        What raw inputs go through, synthetic ones as well.
    samples : int, optional
        Use the first so many, or make so many.
    seed : int
        For synthetic inputs.
    hints : mapping of str to InputHint, optional
        What the first model's graph tells of its inputs: for synthetic ones, and which output is
        what state next, as these are carried along files of sound.
    labels : Path or None
        A table of the classes of a folder's files.

    Raises
    ------
    DataError
        The file cannot be read or does not fit, or no inputs can be made.
    """
    if data is None:
        open_data(None, steps, labels)  # Refuses labels.
        return synthetic_data(
            session, samples or SYNTHETIC, seed=seed, normalisation=steps, hints=hints
        )
    given = open_data(data, steps, labels)
    assert given is not None
    every = given.entries(session.inputs) if isinstance(given, Folder) else len(given)
    count = samples or every
    found = given.for_model(session.inputs, count)
    if isinstance(given, Sounds):
        found = along(found, given.begins(session.inputs, count), session, following(hints or {}))
    return found if samples is None else found.first(samples)


def synthetic_data(
    session: Session,
    count: int,
    *,
    seed: int = 0,
    normalisation: Normalisation | None = None,
    hints: Mapping[str, InputHint] | None = None,
) -> Dataset:
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
        return Dataset("synthetic inputs", {spec.name: x})

    def one(place: int, number: int) -> Array:
        spec = specs[place]
        shape = shapes[spec.name]
        if not math.prod(shape):
            return np.zeros(shape, spec.dtype)
        length = shape[0] if shape else 1
        calibration = synthesise(
            [spec],
            [shape],
            length,
            seed=seed + place * count + number,
            normalisation=normalisation,
            hints=hints,
            unseen=True,
        )
        return calibration.batches[0][spec.name]

    for spec in specs:
        check_affordable(spec.name, shapes[spec.name], count)
    arrays = {
        spec.name: np.stack([one(place, k) for k in range(count)])
        for place, spec in enumerate(specs)
    }
    return Dataset("synthetic inputs", arrays)
