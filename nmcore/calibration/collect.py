"""The calibration set of a model: from the data that is given, or synthetic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nmcore.calibration.calibration_set import CalibrationSet, from_data
from nmcore.calibration.hold_back import hold_back, wanted
from nmcore.calibration.padding import padding_mask
from nmcore.calibration.random_inputs import hints_of, runnable
from nmcore.calibration.splicing import spliced
from nmcore.calibration.states import along, with_states
from nmcore.calibration.supplement import supplemented
from nmcore.calibration.synthetic import pixel_range, synthesise
from nmcore.data.batches import BatchRunner, length_of
from nmcore.data.dataset import Dataset
from nmcore.data.loading import Opened
from nmcore.data.normalisation import Normalisation
from nmcore.data.sounds import Sounds
from nmcore.errors import DataError, ModelError, OutOfMemoryError
from nmcore.plugins.capabilities import Maskable
from nmcore.plugins.inputs import InputHint, InputSpec
from nmcore.plugins.open_sizes import guessed
from nmcore.plugins.protocols import Graph, Measurable, Session
from nmcore.plugins.states import next_states
from nmcore.utils.text import stated_text

# Inputs to measure on: as many synthetic ones as real ones, and more where they cost little time.
REAL_SAMPLES, SYNTHETIC_SAMPLES, UNSEEN_SAMPLES = 256, 2048, 64
# Fewer real inputs than this may be worse than none, unless they are supplemented.
FEW = 64

# Multiply-accumulates that one pass over synthetic inputs may take: over up to as many as of real
# ones, and over more than that. How many numbers they may hold, and how few of them will do.
_PASS, _MORE, _HELD, _FEWEST = 2e12, 4e10, 2**27, 16

# Numbers in the largest value of a run; the runtime holds a few such values at once.
_RUN_NUMBERS = 2**26


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a user gave to measure on.

    Attributes
    ----------
    data : Dataset, Folder, FeedList or None
        Calibration data.
    samples : int or None
        How many inputs to use or make.
    normalisation : Normalisation or None
        What raw pixels go through.
    """

    data: Opened | None = None
    samples: int | None = None
    normalisation: Normalisation | None = None


def calibration_set_for(
    graph: Graph, session: Session, inputs: Inputs, seed: int
) -> CalibrationSet:
    """The calibration set: the data that is given, or synthetic inputs of a shape that runs.

    Parameters
    ----------
    graph, session : Graph, Session
        The model, opened and loaded.
    inputs : Inputs
        What a user gave.
    seed : int
        For synthetic inputs.
    """
    states = next_states(graph)
    if inputs.data is not None:
        given = _runnable(_given(session, graph, inputs), graph, session)
        given = with_states(given, session, states)
        mask = padding_mask(session, given.batches)
        if mask is None or _has_past(given, session):
            return given
        left_out = isinstance(graph, Maskable) and graph.set_mask(mask)
        told = f", without the padding that {mask} marks" if left_out else ""
        return spliced(replace(given, mask=mask, source=given.source + told))
    if not session.inputs:
        raise DataError("the model has no inputs, and gives the same each time")
    feeds, hints = runnable(session, seed=seed, hints=hints_of(graph))
    shapes = [feeds[spec.name].shape for spec in session.inputs]
    numbers = sum(int(np.prod(shape[1:])) for shape in shapes)
    fits = max(_HELD // max(numbers, 1), _FEWEST)

    def made(count: int, seed: int, unseen: bool = False) -> CalibrationSet:
        synthetic = synthesise(
            session.inputs,
            shapes,
            count,
            seed=seed,
            normalisation=inputs.normalisation,
            hints=hints,
            unseen=unseen,
        )
        return _runnable(synthetic, graph, session)

    count = inputs.samples or min(_affordable(graph), fits)
    unseen = made(min(UNSEEN_SAMPLES, count), seed + 1000, unseen=True)
    shown = made(count, seed)
    told = _sizes_told(session.inputs, shapes) + _told(hints.values())
    shown = replace(shown, unseen=unseen.batches, source=shown.source + told)
    return with_states(shown, session, states)


def _has_past(calibration: CalibrationSet, session: Session) -> bool:
    """Whether there are positions before those that come in, which a mask counts, too."""
    names = [spec.name for spec in session.inputs if spec.grows is not None]
    return any(feeds[name].size for feeds in calibration.batches for name in names)


def scale_caution(data: Dataset, graph: Graph, takes: np.dtype[Any]) -> str | None:
    """Say where inputs are on another scale than the model was probably trained on.

    Parameters
    ----------
    data : Dataset
        What was given.
    graph : Graph
        The model, which may prepare bytes itself.
    takes : dtype
        The type of the model's first input.
    """
    if data.scaled_twice is not None:
        low, high = data.scaled_twice
        return (
            f"x lies from {low:.3g} to {high:.3g} before it is divided by --scale: was it scaled "
            "already?"
        )
    if not data.is_unscaled or takes == np.uint8:
        return None
    hints = hints_of(graph).values()
    if any(hint.mean is not None and pixel_range(hint) > 1 for hint in hints):
        return None
    return (
        "x holds bytes and is taken as it is; if the network was trained on scaled inputs, "
        "give --scale, --mean and --std"
    )


def _sizes_told(inputs: Sequence[InputSpec], shapes: Sequence[Sequence[int]]) -> str:
    """Which sizes stand for those that the model leaves open, in words."""
    names = {spec.name for spec in guessed(inputs)}
    found = {
        spec.name: shape for spec, shape in zip(inputs, shapes, strict=True) if spec.name in names
    }
    return f" of {stated_text(found)} (a guess)" if found else ""


def _told(hints: Iterable[InputHint]) -> str:
    """What the graph told of its inputs, in words."""
    if any(hint.weight is not None for hint in hints):
        return ", mixed from the rows of the first layer"
    if any(hint.mean is not None for hint in hints):
        return ", in the range that the model prepares"
    return ""


def _runnable(calibration: CalibrationSet, graph: Graph, session: Session) -> CalibrationSet:
    """The same inputs in batches that memory and the model allow."""
    if isinstance(graph, Measurable):
        calibration = calibration.rebatched(max(1, _RUN_NUMBERS // graph.largest_value()))
    divided = BatchRunner(session, calibration.any_length)
    try:
        next(divided(calibration.batches[0]))
    except OutOfMemoryError:
        raise
    except ModelError:
        # Some models say that they take any batch and then reshape to one of 1.
        calibration = replace(calibration.rebatched(1), any_length=False)
        session.run(calibration.batches[0])
    return calibration.rebatched(divided.most)


def work(graph: Graph) -> float:
    """About how many multiply-accumulates one input takes, as far as the sizes are known."""
    return graph.cost().macs or sum(term.macs for term in graph.terms())


def _affordable(graph: Graph) -> int:
    """How many inputs to make: as many as of real ones, more for small models, fewer for huge ones,
    whose many positions make up for it.
    """
    one = max(work(graph), 1)
    count = max(min(_PASS / one, REAL_SAMPLES), _MORE / one, _FEWEST)
    return int(min(count, SYNTHETIC_SAMPLES))


def _given(session: Session, graph: Graph, inputs: Inputs) -> CalibrationSet:
    """The calibration data of a file or a folder, supplemented where that holds few pictures."""
    count = inputs.samples or REAL_SAMPLES
    assert inputs.data is not None
    data = inputs.data.for_model(session.inputs, wanted(count))
    if isinstance(inputs.data, Sounds):
        begins = inputs.data.begins(session.inputs, wanted(count))
        data = along(data, begins, session, next_states(graph))
    calibration = _divided(data, session.inputs, count)
    given, held = calibration.count, sum(map(length_of, calibration.unseen))
    numbers = sum(array[:1].size for array in calibration.batches[0].values())
    enough = min(count, REAL_SAMPLES, _affordable(graph), _HELD // max(numbers, 1))
    form = None if inputs.normalisation is None else inputs.normalisation.form
    bgr = form is not None and form.order == "bgr"
    calibration = supplemented(calibration, enough - held, bgr=bgr)
    source = calibration.source + (f", and {held} more to judge by" if held else "")
    scarcity = _scarcity(given) if calibration.count == given else _optimism(given, held)
    found = [scale_caution(data, graph, session.inputs[0].dtype), scarcity]
    return replace(calibration, source=source, cautions=tuple(filter(None, found)))


def _divided(data: Dataset, inputs: Sequence[InputSpec], count: int) -> CalibrationSet:
    """What is fitted to, and what is held back, unless that does not fill a batch of the model."""
    fitted, held = hold_back(data, count)
    if held is None:
        return from_data(fitted, inputs, count)
    try:
        unseen = from_data(held, inputs, len(held))
    except DataError:
        return from_data(data, inputs, count)
    calibration = from_data(fitted, inputs, count)
    return replace(calibration, unseen=unseen.batches, held=held)


def _optimism(count: int, held: int) -> str | None:
    """Say where supplemented inputs are so few that none are left to judge by."""
    if held:
        return None
    inputs = "the one input was" if count == 1 else f"all {count} inputs were"
    return f"{inputs} fitted to, so that what is told of them is too good: judge on others"


def _scarcity(count: int) -> str | None:
    """Say where inputs are so few that the network learns them by heart."""
    if count >= FEW:
        return None
    inputs = "one input" if count == 1 else f"{count} inputs"
    return (
        f"measured on {inputs}, which the result will suit better than any others: some hundreds "
        "are wanted, and none at all may serve better than a few"
    )
