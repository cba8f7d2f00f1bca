"""Synthetic inputs for every input of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.calibration import dead_leaves, photographs
from nmcore.calibration.calibration_set import CalibrationSet, batch_length
from nmcore.calibration.random_inputs import WORD, check_affordable
from nmcore.calibration.token_ids import in_segments, takes_ids, token_ids
from nmcore.data.layout import channels_last
from nmcore.data.normalisation import Normalisation
from nmcore.errors import DataError
from nmcore.plugins.inputs import InputHint, InputSpec
from nmcore.plugins.open_sizes import are_apart

# Pixels from 0 to 1 become roughly standard, as the input of most networks is; the usual values
# for photographs. Options, or the graph, may know better.
DEFAULT_NORMALISATION = Normalisation(1.0, (0.45,), (0.25,))


# A preprocessing with constants beyond this is given pixels from 0 to 255, else from 0 to 1.
_BYTES = 8.0


def synthesise(
    inputs: Sequence[InputSpec],
    shapes: Sequence[tuple[int, ...]],
    samples: int,
    *,
    seed: int = 0,
    normalisation: Normalisation | None = None,
    hints: Mapping[str, InputHint] | None = None,
    unseen: bool = False,
) -> CalibrationSet:
    """Synthetic inputs for every input of a model.

    Pictures of 1 or 3 channels are crops of photographs; other images, signals and volumes are dead
    leaves; vectors are Gaussian; integers are random places in the tables that the graph looks them
    up in; booleans are true. What a fully connected layer reads first is mixed from its rows.

    Parameters
    ----------
    inputs : sequence of InputSpec
        What the model wants.
    shapes : sequence of tuple
        A shape of each input on which the model runs.
    samples : int
        How many to make.
    seed : int
        For the generator.
    normalisation : Normalisation or None
        What raw pixels, from 0 to 255, go through; None makes them as the hint says, or roughly
        standard.
    hints : mapping of input name to InputHint, optional
        What the graph tells of its inputs.
    unseen : bool
        Of photographs that are never cut otherwise, to judge results on.
    """
    hints = hints or {}
    # A state of layers by inputs, say, is not one row an input: such inputs come one at a time.
    apart = are_apart(inputs)
    # An input without numbers, such as an empty list of axes, is no batch of anything.
    empty = [
        not math.prod(shape) and spec.grows is None
        for spec, shape in zip(inputs, shapes, strict=True)
    ]
    length = min(
        1 if apart else batch_length(spec, shape[1:], samples)
        for spec, shape, nothing in zip(inputs, shapes, empty, strict=True)
        if not nothing
    )
    for spec, shape in zip(inputs, shapes, strict=True):
        check_affordable(spec.name, shape if apart else (1, *shape[1:]), samples)
    free = not apart and all(not spec.shape or spec.shape[0] is None for spec in inputs)
    count = -(-samples // length) if free else max(1, samples // length)
    total = samples if free else count * length
    rows = [
        0 if nothing else shape[0] if apart and shape else length
        for shape, nothing in zip(shapes, empty, strict=True)
    ]
    made = [
        _make(
            spec,
            (count * each if apart else min(count * each, total), *shape[1:]) if shape else (),
            seed + number,
            normalisation,
            hints.get(spec.name, InputHint()),
            unseen,
        )
        for number, (spec, shape, each) in enumerate(zip(inputs, shapes, rows, strict=True))
    ]
    batches = [
        {
            spec.name: array[k * each : (k + 1) * each] if array.ndim else array
            for spec, array, each in zip(inputs, made, rows, strict=True)
        }
        for k in range(count)
    ]
    source = f"{total} synthetic inputs"
    return CalibrationSet(batches, total, False, source, any_length=free, apart=apart)


def _make(
    spec: InputSpec,
    shape: tuple[int, ...],
    seed: int,
    normalisation: Normalisation | None,
    hint: InputHint,
    unseen: bool,
) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    if not math.prod(shape) or hint.next_state is not None:
        return np.zeros(shape, spec.dtype)
    if spec.dtype.kind == "b":
        return np.ones(shape, spec.dtype)
    if spec.dtype.kind == "O":
        return np.full(shape, WORD, spec.dtype)
    if takes_ids(spec.dtype):
        return in_segments(rng, token_ids(rng, shape, spec, hint), hint)
    if hint.weight is not None:
        mixed = dead_leaves.first_layer_inputs(hint.weight, shape[0], seed=seed)
        return np.asarray(_unstandardised(mixed.reshape(shape), hint), spec.dtype)
    if len(shape) < 3:
        return np.asarray(_unstandardised(rng.standard_normal(shape), hint), spec.dtype)
    last = channels_last(shape)
    channels, size = (shape[-1], shape[1:-1]) if last else (shape[1], shape[2:])
    if len(size) == 2 and channels in (1, 3):
        values = photographs.crops(shape[0], channels, size, seed=seed, unseen=unseen)
    else:
        values = dead_leaves.dead_leaves(shape[0], channels, size, seed=seed)
    if last:
        values = np.moveaxis(values, 1, -1)
    axis = values.ndim - 1 if last else 1
    if spec.dtype == np.uint8:
        values = 255 * values
    elif normalisation is not None:
        if normalisation.channels not in (1, channels):
            raise DataError(
                f"mean or std has {normalisation.channels} numbers; the model's input "
                f"{spec.name!r} has {channels} channel{'s' if channels > 1 else ''}"
            )
        if normalisation.form.order == "bgr" and channels == 3:
            values = np.flip(values, axis)
        values = normalisation(255 * values, axis, np.dtype(np.float32))
    elif _takes_pixels(hint, len(shape)):
        values = pixel_range(hint) * values
    else:
        standard = DEFAULT_NORMALISATION(values, axis, np.dtype(np.float32))
        values = _unstandardised(standard, hint)
    return np.ascontiguousarray(values, dtype=spec.dtype)


def _unstandardised(values: NDArray[Any], hint: InputHint) -> NDArray[Any]:
    """What a model prepares into standard values."""
    if hint.mean is None or hint.std is None:
        return values
    raw: NDArray[Any] = hint.mean + hint.std * values
    return raw


def _takes_pixels(hint: InputHint, rank: int) -> bool:
    """Whether the model prepares pictures itself, by constants that say what pixels range over."""
    return rank > 3 and hint.mean is not None and not hint.measured


def pixel_range(hint: InputHint) -> float:
    """The largest value of the pixels that a preprocessing expects."""
    assert hint.mean is not None
    assert hint.std is not None
    return 255.0 if max(np.abs(hint.mean).max(), hint.std.max()) > _BYTES else 1.0
