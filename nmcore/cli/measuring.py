"""What a compressed model is worth, beside its original: size, time, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nmcore.cli import terminal as t
from nmcore.errors import DataError, ModelError, VerificationError
from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.latency import Latency, measure, on_one_device
from nmcore.evaluation.stopwatch import timed_inputs
from nmcore.pipeline.conversion import requantised
from nmcore.pipeline.layers import layers_of
from nmcore.pipeline.result import Result
from nmcore.plugins import registry
from nmcore.plugins.capabilities import Profiling
from nmcore.plugins.protocols import Session
from nmcore.plugins.states import marked, narrowed
from nmcore.report import speedup
from nmcore.report.layers import LayerReport
from nmcore.report.report import Measures
from nmcore.report.steps import Step
from nmcore.utils.files import Draft
from nmcore.utils.logs import step


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes
    ----------
    fields : dict
        Attributes of :class:`nmcore.report.report.Report`.
    """

    fields: dict[str, Any]

    def shortfall(self, result: Result, *, rounded: bool) -> Iterator[str]:
        """See :func:`nmcore.report.speedup.shortfall`."""
        return speedup.shortfall(
            result.graph,
            result.outcomes,
            self.fields["before"],
            self.fields["after"],
            rounded=rounded,
        )


def measured(
    result: Result, draft: Draft, providers: Sequence[str], threads: int, *, profiled: bool
) -> Measured:
    """Time both models, and the one before its weights were converted, and compare them.

    With ``profiled`` they are told layer by layer, too.
    """
    unmeasured: list[str] = []
    sessions = _load_all(result, draft.path, providers, threads)
    times: Sequence[Latency | None] = [None] * len(sessions)
    if result.changed:  # else both are one model
        with t.working("timing both models"), step("timing both models"):
            times = _time_all(sessions, result, unmeasured)
    size = draft.size()
    fidelity = _fidelity(sessions[0], sessions[1], result, unmeasured) if result.changed else None
    steps: tuple[Step, ...] = ()
    if result.unconverted is not None and result.then is not None:
        whole = result.unconverted
        before = _fidelity(sessions[0], sessions[2], whole, []) if whole.removed else None
        steps = (
            Step("compress", whole.graph.size(), _median(times[2]), before),
            Step(result.then, size, _median(times[1]), fidelity),
        )
    return Measured(
        {
            "before": Measures.of(result.before, result.size, times[0]),
            "after": Measures.of(result.after, size, times[1]),
            "fidelity": fidelity,
            "requantised": requantised(result, *sessions[:2]) if fidelity is not None else None,
            "steps": steps,
            "layers": _layers(result, draft.path, sessions) if profiled else (),
            "unmeasured": unmeasured,
            "provider": " and ".join(dict.fromkeys(session.provider for session in sessions)),
            "threads": sessions[0].threads,
        }
    )


def _layers(result: Result, written: Path, sessions: Sequence[Session]) -> tuple[LayerReport, ...]:
    """Both models layer by layer, with times where both run on the CPU."""
    runtime, before = registry.runtime(), sessions[0]
    if not isinstance(runtime, Profiling) or {each.provider for each in sessions} != {"cpu"}:
        return layers_of(result)
    assert result.original is not None
    try:
        feeds = timed_inputs(before, result.data, seed=result.seed)
        fed = narrowed(feeds, sessions[1].inputs)
        with step("timing layer by layer"):
            model = result.original.serialized()
            first = runtime.profile(model, feeds, threads=before.threads)
            second = runtime.profile(written, fed, threads=before.threads)
    except (ModelError, DataError):
        return layers_of(result)
    return layers_of(result, (first, second))


def _median(time: Latency | None) -> float | None:
    return None if time is None else time.median_ms


@contextmanager
def drafted(result: Result, target: Path | None, external_data: bool | None) -> Iterator[Draft]:
    """The result as files that load, beside OUT; somewhere else where there is none."""
    with TemporaryDirectory() if target is None else nullcontext() as scratch:
        path = target if scratch is None else Path(scratch) / "model.onnx"
        assert path is not None
        with result.draft(path, external_data=external_data) as draft:
            yield draft


def _load_all(
    result: Result, written: Path, providers: Sequence[str], threads: int
) -> list[Session]:
    """The original, the result, and the result before its weights were converted, if they were."""
    assert result.original is not None
    before = result.original.session(threads)
    if before.notice:
        t.notify(before.notice)
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
    sessions: Sequence[Session], result: Result, unmeasured: list[str]
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
    before: Session, after: Session, result: Result, unmeasured: list[str]
) -> Fidelity | None:
    try:
        with t.working("comparing both models") as track, step("comparing both models"):
            return result.compared(before, after, track)
    except (ModelError, DataError) as error:
        if result.metrics:
            raise
        unmeasured.append(f"the results are not compared: {error}")
        return None
