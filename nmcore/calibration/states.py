"""States of models that work step by step, as they are after the steps before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.data.batches import Feeds
from nmcore.data.dataset import Dataset
from nmcore.data.feeds import feeder
from nmcore.plugins.capabilities import output_names
from nmcore.plugins.protocols import Session

# The states of the first steps are those of silence: so many steps at least follow each other.
FEWEST_STEPS = 16


def along(
    data: Dataset, begins: Sequence[bool], session: Session, states: Mapping[str, str]
) -> Dataset:
    """The same entries, each with the states that those before it have left.

    Parameters
    ----------
    begins : sequence of bool
        Which entries begin with the states that they have, as another sequence begins there.
    session : Session
        The original, which takes the states along.
    states : mapping of str to str
        The output that gives what a state is next, by the name of the input.
    """
    feed = feeder(data, session.inputs)
    if not states or feed.fixed not in (None, 1):
        return data
    names = list(output_names(session))
    rows = {name: np.array(data.arrays[name]) for name in states}
    left: Feeds = {}
    for number, begin in enumerate(begins):
        feeds = feed(np.array([number]))
        if not begin:
            feeds |= {name: left[name].reshape(feeds[name].shape) for name in states}
        for name in states:
            rows[name][number] = feeds[name].reshape(rows[name][number].shape)
        outputs = session.run(feeds)
        left = {name: outputs[names.index(output)] for name, output in states.items()}
    return replace(data, arrays={**data.arrays, **rows})


def with_states(
    calibration: CalibrationSet, session: Session, states: Mapping[str, str]
) -> CalibrationSet:
    """The same inputs, each batch with the states that the one before it has left.

    So inputs that follow each other are steps of one sequence, or of several side by side where
    a batch has several rows. States that the data brings stay as they are.

    Parameters
    ----------
    states : mapping of str to str
        The output that gives what a state is next, by the name of the input.
    """
    open_ = {
        name: output
        for name, output in states.items()
        if not any(feeds[name].any() for feeds in calibration.batches)
    }
    if not open_:
        return calibration
    if len(calibration.batches) < FEWEST_STEPS:
        calibration = calibration.rebatched(max(1, calibration.count // FEWEST_STEPS))
    return replace(
        calibration,
        batches=_run(calibration.batches, session, open_),
        unseen=_run(calibration.unseen, session, open_),
        source=f"{calibration.source}, with the states that they leave",
    )


def _run(batches: Sequence[Feeds], session: Session, states: Mapping[str, str]) -> Sequence[Feeds]:
    names = list(output_names(session))
    left: Feeds = {}
    found = []
    for feeds in batches:
        fitting = {name: state for name, state in left.items() if state.shape == feeds[name].shape}
        found.append({**feeds, **fitting})
        outputs = session.run(found[-1])
        left = {name: outputs[names.index(output)] for name, output in states.items()}
    return found
