"""Checking the default against the published method: the better of the two is what a user gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore import plugins
from nmcore.merging import merge_all
from nmcore.plan import Outcome, Task
from nmcore.probes import Probes

_MEANING = "(mean squared difference over variance of the outputs)"


@dataclass(frozen=True, eq=False)
class Rival:
    """The published method on the same model, with the same number of channels."""

    model: Any
    task: Task
    probes: Probes
    providers: Sequence[str]

    def better(
        self, graph: plugins.Graph, outcomes: list[Outcome]
    ) -> tuple[plugins.Graph, list[Outcome], str]:
        """Whichever of ``graph`` and the merged model is closer to the original on the probes."""
        original = plugins.open_graph(self.model).serialize()
        counts = {outcome.plan.name: len(outcome.plan.kept) for outcome in outcomes}
        merged = plugins.open_graph(self.model)
        task = replace(
            self.task,
            counts=counts,
            budget=None,
            options=replace(self.task.options, method="merge"),
        )
        rivals, _ = merge_all(merged, task)
        mine, theirs = self._errors(original, [graph.serialize(), merged.serialize()])
        if mine <= theirs:
            note = f"relative error of the outputs {mine:.3f}; merging would leave {theirs:.3f}"
            return graph, outcomes, f"{note} {_MEANING}"
        note = f"merged instead: relative error {theirs:.3f}, where refitting left {mine:.3f}"
        return merged, rivals, f"{note} {_MEANING}"

    def _errors(self, original: bytes, models: Sequence[bytes]) -> list[float]:
        """The mean squared error of each model's outputs, relative to their variance."""
        runtime = plugins.runtime()
        first, *others = (
            runtime.session(model, providers=self.providers) for model in (original, *models)
        )
        wrong, total = np.zeros(len(others)), 0.0
        for feeds in self.probes.unseen or self.probes.batches:
            want = _floats(first.run(feeds))
            total += sum(float(np.var(output)) * output.size for output in want)
            for index, session in enumerate(others):
                got = _floats(session.run(feeds))
                wrong[index] += sum(
                    float(np.square(a - b).sum()) for a, b in zip(got, want, strict=True)
                )
        return [float(error) for error in wrong / (total or 1.0)]


def _floats(outputs: Sequence[NDArray[Any]]) -> list[NDArray[np.float64]]:
    """The outputs that are numbers one can subtract, with infinities left out."""
    return [
        np.nan_to_num(output.astype(np.float64), posinf=0, neginf=0)
        for output in outputs
        if np.issubdtype(output.dtype, np.floating)
    ]
