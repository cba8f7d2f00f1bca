"""Checking the default against the published method: the better of the two is what a user gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.calibration.calibration_set import Probes
from nmcore.compression.merging import merge_all
from nmcore.plan.outcome import Outcome
from nmcore.plan.task import Task
from nmcore.plugins import protocols, registry


@dataclass(frozen=True, eq=False)
class Rival:
    """The published method on the same model, with the same number of channels."""

    original: protocols.Graph
    session: protocols.Session
    task: Task
    probes: Probes
    providers: Sequence[str]

    def better(
        self, graph: protocols.Graph, outcomes: list[Outcome]
    ) -> tuple[protocols.Graph, list[Outcome], str]:
        """Whichever of ``graph`` and the merged model is closer to the original on the probes."""
        counts = {outcome.plan.name: len(outcome.plan.kept) for outcome in outcomes}
        merged = self.original.clone()
        task = replace(
            self.task,
            counts=counts,
            budget=None,
            options=replace(self.task.options, method="merge"),
        )
        rivals, _ = merge_all(merged, task)
        found = self._deviations([graph.serialize(), merged.serialize()])
        if found is None:
            note = "not compared with merging, as the shapes of the outputs depend on their numbers"
            return graph, outcomes, note
        mine, theirs = found
        if mine <= theirs:
            note = f"the outputs deviate by {mine:.1f} %; merged, they would by {theirs:.1f} %"
            return graph, outcomes, note
        note = f"merged instead: the outputs deviate by {theirs:.1f} %, refitted by {mine:.1f} %"
        return merged, rivals, note

    def _deviations(self, models: Sequence[bytes]) -> list[float] | None:
        """The root mean square of each model's difference, in percent of that of the outputs.

        Outputs of other shapes than the original's are left out; None where all are.
        """
        runtime = registry.runtime()
        others = [runtime.session(model, providers=self.providers) for model in models]
        wrong, total, compared = np.zeros(len(others)), 0.0, False
        for feeds in self.probes.unseen or self.probes.batches:
            wanted = _floats(self.session.run(feeds))
            found = [_floats(session.run(feeds)) for session in others]
            for want, *got in zip(wanted, *found, strict=True):
                if any(each.shape != want.shape for each in got):
                    continue
                compared = True
                total += float(np.square(want).sum())
                wrong += [float(np.square(each - want).sum()) for each in got]
        if not compared:
            return None
        return [float(share) for share in 100 * np.sqrt(wrong / (total or 1.0))]


def _floats(outputs: Sequence[NDArray[Any]]) -> list[NDArray[np.float64]]:
    """The outputs that are numbers one can subtract, with infinities left out."""
    return [
        np.nan_to_num(output.astype(np.float64), posinf=0, neginf=0)
        for output in outputs
        if np.issubdtype(output.dtype, np.floating)
    ]
