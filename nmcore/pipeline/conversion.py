"""What becomes of a compressed model's numbers afterwards: integers, or half precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.calibration.collect import REAL_SAMPLES, Inputs, calibration_set_for
from nmcore.data.batches import Feeds, length_of
from nmcore.errors import ArgumentError, ModelError
from nmcore.evaluation.stopwatch import timed_inputs
from nmcore.options.options import CompressOptions
from nmcore.pipeline.job import Job
from nmcore.pipeline.result import Result
from nmcore.pipeline.search import parts
from nmcore.plugins import protocols, registry
from nmcore.plugins.capabilities import Quantised, quantised_weights
from nmcore.plugins.conversion import Converting
from nmcore.utils.logs import step


def check_convertible(options: CompressOptions) -> None:
    """Raise where the result could not be converted as the options ask, whatever it is.

    Raises
    ------
    ArgumentError
        The runtime does not convert, or states may get other shapes.
    """
    if options.then is None:
        return
    if not isinstance(registry.runtime(), Converting):
        raise ArgumentError(f"then is {options.then}; {registry.runtime().name} converts nothing")
    if options.states:
        raise ArgumentError("then and states were given; leave out either")


def check_unconverted(graph: protocols.Graph, options: CompressOptions) -> None:
    """Raise where a model would be converted that has no weights for it.

    Raises
    ------
    ArgumentError
        They are integers already.
    ModelError
        It has none of floats where the runtime converts them.
    """
    to, runtime = options.then, registry.runtime()
    if to is None or not isinstance(runtime, Converting):
        return
    if quantised_weights(graph):
        raise ArgumentError(
            f"then is {to}, and weights of the model are quantised already: they are quantised "
            "again as they were; leave out then"
        )
    # As it was traced: what an If that is decided holds is outside of it there.
    if isinstance(graph, Quantised):
        runtime.check_convertible(graph.serialize_floats(original=True), to)
    else:
        runtime.check_convertible(graph.serialize(), to)


def converted(result: Result, job: Job) -> Result:
    """The result in the numbers that the options ask for, where they do.

    Raises
    ------
    ModelError
        It cannot be converted, or is of no use then.
    """
    to, runtime = job.options.then, registry.runtime()
    if to is None or not isinstance(runtime, Converting):
        return result
    found: list[CalibrationSet] = []

    def feeds() -> Sequence[Feeds]:
        found.append(_calibration(job))
        return _first(found[0].batches, REAL_SAMPLES)

    with step(f"converting to {to}"):
        done = runtime.convert(result.graph.serialize(), to, feeds)
        _check_runs(done.model, to, job)
    # What it leaves open is counted as before.
    graph = registry.open_graph(done.model, job.options.input_shape)
    graph.check()
    note = f"{to}: {done.how}"
    if done.fitted and found:
        note += f", measured on {found[0].source}"
    held = result.held
    if held is None and found:
        held = found[0].held
    return replace(
        result,
        graph=graph,
        after=replace(result.after, nodes=graph.cost().nodes),
        notes=[*result.notes, note],
        held=held,
        then=to,
        fitted=done.fitted,
        unconverted=replace(result, held=held),
    )


def _calibration(job: Job) -> CalibrationSet:
    """The inputs that the result was, or would be, measured on; those to judge by are others."""
    data = job.data
    if data is not None and job.options.max_drop is not None:
        data = parts(job)[0]
    inputs = Inputs(data, job.options.samples, job.options.normalisation)
    return calibration_set_for(job.original.graph, job.original.session(), inputs, job.options.seed)


def _first(batches: Sequence[Feeds], most: int) -> list[Feeds]:
    """So many inputs as are at most, and one batch at least."""
    taken: list[Feeds] = []
    count = 0
    for batch in batches:
        if taken and count + length_of(batch) > most:
            break
        taken.append(batch)
        count += length_of(batch)
    return taken


def _check_runs(model: bytes, to: str, job: Job) -> None:
    """Raise unless the model runs, and gives numbers where the original does."""
    original = job.original.session()
    feeds = timed_inputs(original, job.data, seed=job.options.seed)
    session: protocols.Session = registry.runtime().session(model, providers=job.options.providers)
    try:
        outputs = session.run(feeds)
    except ModelError as error:
        raise ModelError(f"what the result became in {to} does not run: {error}") from error
    if _all_finite(original.run(feeds)) and not _all_finite(outputs):
        raise ModelError(
            f"the result cannot be converted to {to}: its outputs would hold NaN or infinity, as "
            "numbers in it are too large"
        )


def _all_finite(outputs: Sequence[Any]) -> bool:
    return all(np.isfinite(each).all() for each in outputs if each.dtype.kind == "f")
