"""What a network is shown so that its activations can be measured: real inputs or made ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore import synthetic
from nmcore.balance import balanced
from nmcore.data import Dataset, Normalisation, Pictures, only_input
from nmcore.dividing import Divided, Feeds, length_of, part_of
from nmcore.errors import DataError, ModelError, OutOfMemoryError
from nmcore.images import load_pictures
from nmcore.plugins import (
    Graph,
    Informative,
    InputHint,
    InputSpec,
    Measurable,
    Session,
    runtime,
)
from nmcore.runnable import SMALL_IDS, batch_axis, check_makeable, runnable_inputs

# Inputs to measure on: real ones are few and dear, made ones cost nothing but time.
REAL_SAMPLES, SYNTHETIC_SAMPLES, UNSEEN_SAMPLES = 256, 2048, 64
# Fewer real inputs than this may be worse than none.
FEW = 64
# Made inputs are chosen among so many times as many.
CANDIDATES = 4

# Multiply-accumulates that made inputs may take in one pass, how many numbers they may hold, and
# how few of them will do.
_PASS, _HELD, _FEWEST = 4e10, 2**26, 16

# The most inputs that one run sees, and the most numbers in them: activations take many times that.
_MAX_BATCH, _MAX_ELEMENTS = 64, 2**22
# Numbers in the largest value of a run; the runtime holds a few such values at once.
_RUN_NUMBERS = 2**26

# Pixels from 0 to 1 become roughly standard, as the input of most networks is; the usual values
# for photographs. Options, or the graph, may know better.
DEFAULT_NORMALISATION = Normalisation(1.0, (0.45,), (0.25,))
# A preprocessing with constants beyond this is given pixels from 0 to 255, else from 0 to 1.
_BYTES = 8.0


@dataclass(frozen=True, eq=False)
class Probes:
    """Inputs in batches, and where they come from.

    Attributes
    ----------
    batches : sequence of mapping of input name to array
        What one run sees each.
    count : int
        How many inputs there are in all.
    real : bool
        Whether they are calibration data rather than made.
    source : str
        Where they come from, in words.
    unseen : sequence of mapping of input name to array
        More of the same kind to judge results on; empty where every input is needed to measure.
    any_length : bool
        Whether the model takes batches of any length.
    apart : bool
        Whether each batch is one input that cannot be joined with others along the first axes.
    cautions : tuple of str
        Why what is measured on them may be worth little.
    """

    batches: Sequence[Feeds]
    count: int
    real: bool
    source: str
    unseen: Sequence[Feeds] = ()
    any_length: bool = True
    apart: bool = False
    cautions: tuple[str, ...] = ()

    def in_batches_of(self, most: int) -> Iterator[Feeds]:
        """The same inputs in batches of at most ``most``, where the model takes any number."""
        for feeds in self.batches:
            length = length_of(feeds)
            if not self.any_length or length <= most:
                yield feeds
                continue
            for start in range(0, length, most):
                yield part_of(feeds, start, start + most)


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a user gave to measure on.

    Attributes
    ----------
    data : Dataset, Path, tuple of Path or None
        Calibration data, or the folder that holds pictures, or their files.
    samples : int or None
        How many inputs to use or make.
    normalisation : Normalisation or None
        What raw pixels go through.
    """

    data: Dataset | Pictures | None = None
    samples: int | None = None
    normalisation: Normalisation | None = None


def probes_for(graph: Graph, inputs: Inputs, providers: Sequence[str], seed: int) -> Probes:
    """Calibration data where there is any, else made inputs of a shape on which the model runs."""
    session = runtime().session(graph.serialize(), providers=providers)
    if inputs.data is not None:
        return _runnable(_given(session, graph, inputs), graph, session)
    feeds = runnable_inputs(session, seed=seed)
    shapes = [feeds[spec.name].shape for spec in session.inputs]
    fits = max(_HELD // sum(int(np.prod(shape[1:])) for shape in shapes), _FEWEST)
    hints = graph.input_hints() if isinstance(graph, Informative) else {}

    def made(count: int, seed: int) -> Probes:
        candidates = synthesise(
            session.inputs,
            shapes,
            max(count, min(CANDIDATES * count, fits)),
            seed=seed,
            normalisation=inputs.normalisation,
            hints=hints,
        )
        return balanced(_runnable(candidates, graph, session), session, count)

    count = inputs.samples or min(_affordable(graph), fits)
    unseen = made(min(UNSEEN_SAMPLES, count), seed + 1000)
    shown = made(count, seed)
    return replace(shown, unseen=unseen.batches, source=shown.source + _told(hints.values()))


def scaling_doubt(data: Dataset, graph: Graph, takes: np.dtype[Any]) -> str | None:
    """Say where inputs are on another scale than the model was probably trained on.

    Parameters
    ----------
    data : Dataset
        What was given.
    graph : Graph
        The model, which may prepare bytes itself.
    takes : dtype
        The type of the model's input.
    """
    if data.is_scaled_twice:
        return "x lies from -1 to 1 before it is divided by --scale: was it scaled already?"
    if not data.is_unscaled or takes == np.uint8:
        return None
    hints = graph.input_hints() if isinstance(graph, Informative) else {}
    if any(hint.mean is not None and _pixel_range(hint) > 1 for hint in hints.values()):
        return None
    return (
        "x holds bytes and is taken as it is; if the network was trained on scaled inputs, "
        "give --scale, --mean and --std"
    )


def _told(hints: Iterable[InputHint]) -> str:
    """What the graph told of its inputs, in words."""
    if any(hint.weight is not None for hint in hints):
        return ", mixed from the rows of the first layer"
    if any(hint.mean is not None for hint in hints):
        return ", in the range that the model prepares"
    return ""


def _runnable(probes: Probes, graph: Graph, session: Session) -> Probes:
    """The same inputs in batches that memory and the model allow."""
    if isinstance(graph, Measurable):
        most = max(1, _RUN_NUMBERS // graph.largest_value())
        probes = replace(probes, batches=list(probes.in_batches_of(most)))
    divided = Divided(session, probes.any_length)
    try:
        next(divided(probes.batches[0]))
    except OutOfMemoryError:
        raise
    except ModelError:
        # Some models say that they take any batch and then reshape to one of 1.
        probes = replace(probes, batches=list(probes.in_batches_of(1)), any_length=False)
        session.run(probes.batches[0])
    return replace(probes, batches=list(probes.in_batches_of(divided.most)))


def work(graph: Graph) -> float:
    """About how many multiply-accumulates one input takes, as far as the sizes are known."""
    return graph.cost().macs or sum(term.macs for term in graph.terms())


def _affordable(graph: Graph) -> int:
    """How many inputs to make: fewer for large models, whose many positions make up for it."""
    return int(min(max(_PASS / max(work(graph), 1), _FEWEST), SYNTHETIC_SAMPLES))


def _given(session: Session, graph: Graph, inputs: Inputs) -> Probes:
    """The calibration data of a file or a folder."""
    count = inputs.samples or REAL_SAMPLES
    data = inputs.data
    if isinstance(data, (Path, tuple)):
        data = load_pictures(data, only_input(session.inputs), count, inputs.normalisation)
    assert data is not None
    probes = from_data(data, session.inputs, count)
    found = [scaling_doubt(data, graph, only_input(session.inputs).dtype), _scarcity(probes.count)]
    return replace(probes, cautions=tuple(filter(None, found)))


def _scarcity(count: int) -> str | None:
    """Say where inputs are so few that the network learns them by heart."""
    if count >= FEW:
        return None
    inputs = "one input" if count == 1 else f"{count} inputs"
    return (
        f"measured on {inputs}, which the result will suit better than any others: some hundreds "
        "are wanted, and none at all may serve better than a few"
    )


def from_data(data: Dataset, inputs: Sequence[InputSpec], samples: int) -> Probes:
    """Calibration data, evenly spread over the file where it holds more than ``samples``."""
    spec = data.fit(inputs)
    count = min(samples, len(data))
    chosen = np.linspace(0, len(data) - 1, count).round().astype(int)
    part = Dataset(data.name, data.x[chosen], None, data.normalisation, data.axis)
    if count > 1 and (part.x == part.x[:1]).all():
        raise DataError(f"{data.name}: the {count} inputs to measure on are all the same")
    length = _batch_length(spec, data.x.shape[1:], count)
    if spec.shape[0] is not None:
        if count < length:
            raise DataError(
                f"{data.name}: the model takes {length} inputs at once; only {count} are at hand"
            )
        count -= count % length
    batches = [
        {spec.name: _finite(part.batch(start, min(start + length, count), spec.dtype), data.name)}
        for start in range(0, count, length)
    ]
    free = spec.shape[0] is None
    source = f"{count} input{'s' if count > 1 else ''} of {data.name}"
    return Probes(batches, count, True, source, any_length=free)


def _finite(batch: NDArray[Any], name: str) -> NDArray[Any]:
    """Pass a batch on; one broken number would break every weight."""
    if batch.dtype.kind == "f" and not np.isfinite(batch).all():
        raise DataError(f"{name}: x holds NaN or infinity")
    return batch


def synthesise(
    inputs: Sequence[InputSpec],
    shapes: Sequence[tuple[int, ...]],
    samples: int,
    *,
    seed: int = 0,
    normalisation: Normalisation | None = None,
    hints: Mapping[str, InputHint] | None = None,
) -> Probes:
    """Made inputs for every input of a model.

    Images, signals and volumes are dead leaves; vectors are Gaussian; integers are small random
    ids; booleans are true. What a fully connected layer reads first is mixed from its rows.

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
    """
    hints = hints or {}
    # A state of layers by inputs, say, is not one row an input: such inputs come one at a time.
    apart = any(batch_axis(spec, inputs) for spec in inputs)
    length = min(
        1 if apart else _batch_length(spec, shape[1:], samples)
        for spec, shape in zip(inputs, shapes, strict=True)
    )
    for spec, shape in zip(inputs, shapes, strict=True):
        check_makeable(spec.name, shape if apart else (1, *shape[1:]), samples)
    count = max(1, samples // length)
    rows = [shape[0] if apart and shape else length for shape in shapes]
    made = [
        _make(
            spec,
            (count * each, *shape[1:]) if shape else (),
            seed + number,
            normalisation,
            hints.get(spec.name, InputHint()),
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
    free = not apart and all(not spec.shape or spec.shape[0] is None for spec in inputs)
    source = f"{count * length} synthetic inputs"
    return Probes(batches, count * length, False, source, any_length=free, apart=apart)


def _make(
    spec: InputSpec,
    shape: tuple[int, ...],
    seed: int,
    normalisation: Normalisation | None,
    hint: InputHint,
) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    if spec.dtype.kind == "b":
        return np.ones(shape, spec.dtype)
    if spec.dtype.kind in "ui" and spec.dtype != np.uint8:
        # A mask is all ones; ids are small, as tables have unknown lengths.
        mask = "mask" in spec.name.lower()
        return np.asarray(np.ones(shape) if mask else rng.integers(0, SMALL_IDS, shape), spec.dtype)
    if hint.weight is not None:
        mixed = synthetic.first_layer_inputs(hint.weight, shape[0], seed=seed)
        return np.asarray(_unstandardised(mixed.reshape(shape), hint), spec.dtype)
    if len(shape) < 3:
        return np.asarray(_unstandardised(rng.standard_normal(shape), hint), spec.dtype)
    last = channels_last(shape)
    channels, size = (shape[-1], shape[1:-1]) if last else (shape[1], shape[2:])
    values = synthetic.dead_leaves(shape[0], channels, size, seed=seed)
    if last:
        values = np.moveaxis(values, 1, -1)
    axis = values.ndim - 1 if last else 1
    if spec.dtype == np.uint8:
        values = 255 * values
    elif normalisation is not None:
        if normalisation.channels not in (1, channels):
            raise DataError(
                f"mean or std has {normalisation.channels} numbers; the model's input {spec.name} "
                f"has {channels} channel{'s' if channels > 1 else ''}"
            )
        values = normalisation(255 * values, axis, np.dtype(np.float32))
    elif _takes_pixels(hint, len(shape)):
        values = _pixel_range(hint) * values
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


def _pixel_range(hint: InputHint) -> float:
    """The largest value of the pixels that a preprocessing expects."""
    assert hint.mean is not None
    assert hint.std is not None
    return 255.0 if max(np.abs(hint.mean).max(), hint.std.max()) > _BYTES else 1.0


def channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the last axis is the one that holds colours."""
    return len(shape) > 3 and shape[-1] in (1, 3, 4) and shape[1] not in (1, 3, 4)


def _batch_length(spec: InputSpec, shape: Sequence[int], samples: int) -> int:
    """How many inputs one run sees: what the model fixes, or what memory allows."""
    if spec.shape and spec.shape[0] is not None:
        return spec.shape[0]
    fits = max(1, _MAX_ELEMENTS // max(1, int(np.prod(shape))))
    return min(_MAX_BATCH, fits, samples)
