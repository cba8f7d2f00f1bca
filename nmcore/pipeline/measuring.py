"""What a compressed model is worth, beside its original: size, time, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nmcore.errors import DataError, ModelError, VerificationError
from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.latency import Latency, measure, on_one_device
from nmcore.evaluation.stopwatch import timed_inputs
from nmcore.pipeline.compressed import Compressed
from nmcore.plugins import registry
from nmcore.plugins.capabilities import Layered, Profiling, Quantised
from nmcore.plugins.protocols import Session
from nmcore.plugins.states import marked, narrowed
from nmcore.report import speedup
from nmcore.report.layers import LayerReport, Times, layer_reports
from nmcore.report.report import Measures
from nmcore.report.requantised import Requantised
from nmcore.report.steps import Step
from nmcore.utils.files import Draft
from nmcore.utils.logs import step
from nmcore.utils.progress import Progress, silent

# Shows that something goes on; see nmcore.cli.progress.working.
Working = Callable[[str], AbstractContextManager[Progress]]
# So many of the inputs whose outputs changed most are told.
SHOWN = 6


def unseen(_text: str) -> AbstractContextManager[Progress]:
    """Show nothing."""
    return nullcontext(silent)


@contextmanager
def drafted(
    result: Compressed, target: Path | None = None, external_data: bool | None = None
) -> Iterator[Draft]:
    """The result as files that load, beside OUT; somewhere else where there is none."""
    with TemporaryDirectory() if target is None else nullcontext() as scratch:
        path = target if scratch is None else Path(scratch) / "model.onnx"
        assert path is not None
        with result.draft(path, external_data=external_data) as draft:
            yield draft


def measured(
    result: Compressed,
    draft: Draft,
    *,
    profiled: bool,
    working: Working = unseen,
    notify: Callable[[str], None] = lambda _line: None,
) -> dict[str, Any]:
    """Time both models, and the one before its weights were converted, and compare them.

    Parameters
    ----------
    result : Compressed
        What was made.
    draft : Draft
        It as files.
    profiled : bool
        Whether they are told layer by layer, too, and the inputs whose outputs changed most.
    working : callable
        Shows what goes on.
    notify : callable
        Takes lines that the user should know.

    Returns
    -------
    dict
        Attributes of :class:`nmcore.report.report.Report`.

    Raises
    ------
    nmcore.errors.NmcoreError
        The outputs are none that a metric could be told of, or the original's file is gone.
    nmcore.errors.VerificationError
        The original loads and runs, and the result does not.
    """
    unmeasured: list[str] = []
    sessions = _load_all(result, draft.path, notify)
    times: Sequence[Latency | None] = [None] * len(sessions)
    if result.changed:  # else both are one model
        with working("timing both models"), step("timing both models"):
            times = _time_all(sessions, result, unmeasured)
    size = draft.size()
    fidelity = None
    if result.changed:
        shown = SHOWN if profiled else 0
        fidelity = _fidelity(sessions[0], sessions[1], result, unmeasured, working, shown)
    steps: tuple[Step, ...] = ()
    if result.unconverted is not None and result.then is not None:
        whole, smaller = result.unconverted, None
        if whole.removed:
            smaller = _fidelity(sessions[0], sessions[2], whole, [], working)
        steps = (
            Step("compress", whole.graph.size(), _median(times[2]), smaller),
            Step(result.then, size, _median(times[1]), fidelity and replace(fidelity, examples=())),
        )
    before = Measures.of(result.before, result.size, times[0])
    after = Measures.of(result.after, size, times[1])
    return {
        "before": before,
        "after": after,
        "fidelity": fidelity,
        "requantised": requantised(result, *sessions[:2]) if fidelity is not None else None,
        "steps": steps,
        "layers": _layers(result, draft.path, sessions) if profiled else (),
        "shortfall": _shortfall(result, before, after),
        "unmeasured": unmeasured,
        "provider": " and ".join(dict.fromkeys(session.provider for session in sessions)),
        "threads": sessions[0].threads,
    }


def _shortfall(result: Compressed, before: Measures, after: Measures) -> tuple[str, ...]:
    """See :func:`nmcore.report.speedup.shortfall`."""
    if result.then is not None:
        return ()
    timed = result.budget is not None and result.budget.kind == "latency"
    stated = result.plan.options.get("round_to")
    rounded = stated == "auto" or (timed and stated is None)
    return tuple(speedup.shortfall(result.graph, result.outcomes, before, after, rounded=rounded))


def requantised(result: Compressed, before: Session, after: Session) -> Requantised | None:
    """Tell the loss of quantising weights again from that of compressing, of sessions that run the
    original and the result; None where the original has no quantised weight.
    """
    graph, original = result.graph, result.original
    if (
        result.then is not None
        or original is None
        or not isinstance(graph, Quantised)
        or not graph.quantised
    ):
        return None
    models = [graph.serialize_floats(original=True), graph.serialize_floats()]
    plain, small = (original.loaded(model) for model in models)
    pairs = (small, after), (plain, before), (plain, small)
    found = [result.compared(one, other).deviation for one, other in pairs]
    return Requantised(graph.quantised, *found)


def _layers(
    result: Compressed, written: Path, sessions: Sequence[Session]
) -> tuple[LayerReport, ...]:
    """Both models layer by layer, with times where both run on the CPU."""
    runtime, before = registry.runtime(), sessions[0]
    if not isinstance(runtime, Profiling) or {each.provider for each in sessions} != {"cpu"}:
        return _layers_of(result)
    assert result.original is not None
    try:
        feeds = timed_inputs(before, result.data, seed=result.seed)
        fed = narrowed(feeds, sessions[1].inputs)
        with step("timing layer by layer"):
            model = result.original.serialized()
            first = runtime.profile(model, feeds, threads=before.threads)
            second = runtime.profile(written, fed, threads=before.threads)
    except (ModelError, DataError):
        return _layers_of(result)
    return _layers_of(result, (first, second))


def _layers_of(
    result: Compressed, times: tuple[Times, Times] = ({}, {})
) -> tuple[LayerReport, ...]:
    """Each layer before and after; see :func:`nmcore.report.layers.layer_reports`."""
    graph = (result.unconverted or result).graph
    original = None if result.original is None else result.original.graph
    if not isinstance(graph, Layered) or not isinstance(original, Layered):
        return ()
    return layer_reports(original.layers(), graph.layers(), times)


def _median(time: Latency | None) -> float | None:
    return None if time is None else time.median_ms


def _load_all(result: Compressed, written: Path, notify: Callable[[str], None]) -> list[Session]:
    """The original, the result, and the result before its weights were converted, if they were."""
    assert result.original is not None
    providers, threads = result.original.providers, result.threads
    before = result.original.session(threads)
    if before.notice:
        notify(before.notice)
    try:
        after = registry.runtime().session(written, providers=providers, threads=threads)
    except ModelError as error:
        raise VerificationError(f"the original loads, but the result does not: {error}") from error
    found = [before, marked(after, result.graph)]
    if result.unconverted is not None:
        model = result.unconverted.graph.serialize()
        found.append(registry.runtime().session(model, providers=providers, threads=threads))
    return found


def _time_all(
    sessions: Sequence[Session], result: Compressed, unmeasured: list[str]
) -> Sequence[Latency | None]:
    before, after, *others = sessions
    unknown = [None] * len(sessions)
    try:
        feeds = timed_inputs(before, result.data, seed=result.seed)
        before.run(feeds)
    except (ModelError, DataError) as error:
        unmeasured.append(f"no latency: {error}")
        return unknown
    fed = narrowed(feeds, after.inputs)
    try:
        after.run(fed)
    except ModelError as error:
        raise VerificationError(f"the original runs, but the result does not: {error}") from error
    runs = [partial(before.run, feeds), partial(after.run, fed)]
    runs += [partial(other.run, feeds) for other in others]
    try:
        return on_one_device(sessions, lambda: measure(runs))
    except ModelError as error:
        unmeasured.append(f"no latency: {error}")
        return unknown


def _fidelity(
    before: Session,
    after: Session,
    result: Compressed,
    unmeasured: list[str],
    working: Working,
    shown: int = 0,
) -> Fidelity | None:
    try:
        with working("comparing both models") as track, step("comparing both models"):
            return result.compared(before, after, track, shown)
    except (ModelError, DataError) as error:
        if result.metrics:
            raise
        unmeasured.append(f"the results are not compared: {error}")
        return None
