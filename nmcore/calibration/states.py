"""States of models that work step by step, as they are after the steps before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.data.batches import Feeds
from nmcore.plugins.capabilities import output_names
from nmcore.plugins.protocols import Session

# The states of the first steps are those of silence: so many steps at least follow each other.
FEWEST_STEPS = 16


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
