"""The published method as the baseline of the default: the better of the two is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.compression.merging import merge_all
from nmcore.data.batches import length_of
from nmcore.evaluation.metrics.deviation import Deviation
from nmcore.evaluation.outputs import Batch
from nmcore.plan.outcome import Outcome
from nmcore.plan.task import Task
from nmcore.plugins import capabilities, protocols, registry
from nmcore.plugins.states import serialized_alike
from nmcore.utils.text import counted


@dataclass(frozen=True, eq=False)
class Baseline:
    """The published method on the same model, with the same number of channels."""

    original: protocols.Graph
    session: protocols.Session
    task: Task
    calibration: CalibrationSet
    providers: Sequence[str]

    def better(
        self, graph: protocols.Graph, outcomes: list[Outcome]
    ) -> tuple[protocols.Graph, list[Outcome], str]:
        """Whichever of ``graph`` and the merged model deviates less on the calibration set."""
        counts = {outcome.plan.name: len(outcome.plan.kept) for outcome in outcomes}
        merged = self.original.clone()
        inside = [each for each in outcomes if each.narrowing is not None]
        for pair in capabilities.score_pairs(merged):
            for outcome in inside:
                if outcome.plan.name == pair.name and outcome.narrowing is not None:
                    assert isinstance(merged, capabilities.Narrowable)
                    merged.narrow(pair, outcome.narrowing)
        task = replace(
            self.task,
            counts=counts,
            budget=None,
            options=replace(self.task.options, method="merge"),
        )
        baselines, _ = merge_all(merged, task)
        found = self._deviations([serialized_alike(graph), serialized_alike(merged)])
        if found is None:
            note = "not compared with merging, as the shapes of the outputs depend on their numbers"
            return graph, outcomes, note
        mine, theirs = found
        judged = self.calibration.unseen or self.calibration.batches
        kind = "kept to judge by" if self.calibration.unseen else "measured on"
        inputs = counted(sum(map(length_of, judged)), self.calibration.judged_by)
        on = f"on {inputs} {kind} "
        if mine <= theirs:
            note = (
                f"{on}the outputs deviate by {mine:.1f} %; by method merge they would by "
                f"{theirs:.1f} %"
            )
            return graph, outcomes, note
        note = (
            f"method merge instead: {on}the outputs deviate by {theirs:.1f} %, refitted by "
            f"{mine:.1f} %"
        )
        return merged, [*baselines, *inside], note

    def _deviations(self, models: Sequence[bytes]) -> list[float] | None:
        """The deviation of each model from the original, in percent; None where one has none."""
        runtime = registry.runtime()
        sessions = [runtime.session(model, providers=self.providers) for model in models]
        return deviations(self.session, sessions, self.calibration)


def deviations(
    original: protocols.Session,
    sessions: Sequence[protocols.Session],
    calibration: CalibrationSet,
) -> list[float] | None:
    """The deviation of each model from the original on inputs that are held back, in percent.

    Where none are it is that on what is fitted to; None where the outputs have none.
    """
    found = [Deviation() for _ in sessions]
    for feeds in calibration.unseen or calibration.batches:
        wanted = original.run(feeds)
        given = [session.run(feeds) for session in sessions]
        # An output that one of the models gives in another shape is judged for neither.
        fits = [all(each[k].shape == want.shape for each in given) for k, want in enumerate(wanted)]
        chosen = [want if fit else None for want, fit in zip(wanted, fits, strict=True)]
        counts = None if calibration.mask is None else feeds[calibration.mask] != 0
        places = np.arange(length_of(feeds))
        for deviation, outputs in zip(found, given, strict=True):
            deviation.add(Batch(chosen, outputs, None, places, counts))
    shares = [deviation.percent for deviation in found]
    return None if None in shares else [each for each in shares if each is not None]
