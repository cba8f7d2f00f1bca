"""A compressed model and what it was made of, as far as running both models goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nmcore.budgets.allocation import Spent
from nmcore.calibration.random_inputs import hints_of
from nmcore.data.dataset import Dataset
from nmcore.data.loading import Opened
from nmcore.data.normalisation import Normalisation
from nmcore.evaluation.fidelity import Fidelity, compared
from nmcore.evaluation.metrics.registry import Makers
from nmcore.evaluation.seed_spread import Spread
from nmcore.group import Cost, Declined
from nmcore.options.methods import RECONSTRUCTION
from nmcore.pipeline.original import Original
from nmcore.plan.outcome import Outcome
from nmcore.plan.plan import Plan
from nmcore.plugins import capabilities, protocols, registry
from nmcore.plugins.states import restored, serialized_alike, state_changes
from nmcore.report.vocabulary import Vocabulary
from nmcore.utils.files import Draft, checked_path, drafting
from nmcore.utils.progress import Progress, silent


@dataclass(frozen=True, eq=False, repr=False)
class Compressed:
    """A compressed model and what it was made of.

    It can be pickled: what comes back holds the compressed model, its account and the data that was
    given, and reads the original's file again where it compares.

    Attributes
    ----------
    plan : Plan
        The decision for every group, and what replaying it needs.
    outcomes : sequence of Outcome
        What was done, group by group, in topological order.
    declined : sequence of Declined
        What was left alone, and why.
    before, after : Cost
        Size and work of the two models.
    size : int
        Bytes of the original.
    call, seed, verified
        How it was made.
    notes : sequence of str
        What was chosen on the user's behalf, and why, a line each.
    budget : Spent or None
        What became of the budget, where one was given.
    spread : Spread or None
        How results with other seeds differ, where several were tried.
    cautions : sequence of str
        Why what was measured may be worth little, a line each.
    original : Original or None
        The model that was compressed, opened.
    data : Dataset, Folder, FeedList or None
        What was given to measure on, opened.
    held : Dataset or None
        What of it nothing was fitted to.
    vocabulary : Vocabulary or None
        What became of the embedding table, where that was asked for.
    normalisation : Normalisation or None
        What raw inputs go through.
    metrics : mapping of str to callable
        What it is judged by; empty where the form of the outputs decides.
    then : str or None
        What its weights became in the end.
    fitted : bool
        Whether that rests on the data.
    unconverted : Result or None
        The result before that.
    threads : int
        Threads that one operator may use on the CPU where times are taken; 0 for all.
    """

    graph: protocols.Graph = field(repr=False)
    plan: Plan = field(repr=False)
    outcomes: Sequence[Outcome] = field(repr=False)
    declined: Sequence[Declined] = field(repr=False)
    before: Cost
    after: Cost
    size: int
    call: str
    seed: int
    verified: bool
    notes: Sequence[str] = ()
    budget: Spent | None = None
    spread: Spread | None = None
    cautions: Sequence[str] = ()
    original: Original | None = field(default=None, repr=False)
    data: Opened | None = field(default=None, repr=False)
    held: Dataset | None = field(default=None, repr=False)
    normalisation: Normalisation | None = field(default=None, repr=False)
    vocabulary: Vocabulary | None = None
    metrics: Makers = field(default_factory=dict, repr=False)
    then: str | None = None
    fitted: bool = False
    unconverted: Compressed | None = field(default=None, repr=False)
    threads: int = 0

    def __getstate__(self) -> dict[str, Any]:
        changes = state_changes(self.graph)
        alike = serialized_alike(self.graph) if changes else None
        return {**self.__dict__, "graph": (self.graph.serialize(), changes, alike)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        model, changes, alike = state["graph"]
        graph = restored(registry.open_graph(model), changes, alike)
        self.__dict__.update(state, graph=graph)

    @property
    def removed(self) -> bool:
        """Whether any channel, or any row of the vocabulary, is gone."""
        return self.cut or self.vocabulary is not None

    @property
    def changed(self) -> bool:
        """Whether it is another model than the original."""
        return self.removed or self.then is not None

    @property
    def cut(self) -> bool:
        """Whether any channel is gone."""
        return any(len(each.plan.kept) < each.plan.width for each in self.outcomes)

    @cached_property
    def fidelity(self) -> Fidelity:
        """How it compares with the original, on inputs that nothing was fitted to where it can.

        Raises
        ------
        nmcore.errors.NmcoreError
            A model cannot be used, or the outputs are none that ``metric`` could be told of.
        """
        assert self.original is not None
        before = self.original.session()
        return self.compared(before, registry.runtime().session(self.graph.serialize()))

    def compared(
        self,
        before: protocols.Session,
        after: protocols.Session,
        progress: Progress = silent,
        shown: int = 0,
    ) -> Fidelity:
        """The same of sessions that run the original and the result, with so many of the inputs
        whose outputs changed most.
        """
        if self.unseen is not None:
            return self.unseen
        if state_changes(self.graph):  # which data of the original does not fit
            after = registry.runtime().session(
                serialized_alike(self.graph), providers=(after.provider,), threads=after.threads
            )
        found = compared(
            before,
            after,
            self.data,
            held=self.held,
            macs=self.before.macs,
            seed=self.seed,
            steps=self.normalisation,
            hints=hints_of(self.original.graph) if self.original else None,
            progress=progress,
            features=self._gives_features,
            asked=self.metrics,
            shown=shown,
        )
        return found if self._fitted else replace(found, held=True)

    @property
    def _fitted(self) -> bool:
        """Whether data had a part in it."""
        measured = any(each.plan.method == RECONSTRUCTION for each in self.outcomes)
        return measured or self.fitted or self.vocabulary is not None

    @property
    def _gives_features(self) -> bool:
        return capabilities.gives_features((self.unconverted or self).graph)

    @property
    def unseen(self) -> Fidelity | None:
        """How it fares on inputs that had no part in it, where that is known without running it:
        where nothing but the vocabulary became smaller.
        """
        if self.cut or self.then is not None or self.vocabulary is None:
            return None
        return self.vocabulary.unseen

    @contextmanager
    def draft(self, path: str | Path, *, external_data: bool | None = None) -> Iterator[Draft]:
        """Write the compressed model beside ``path``, to be looked at before it is published.

        ``draft.path`` loads in a runtime, whatever its size. Without ``draft.publish()`` nothing is
        left at the end.

        Examples
        --------
        >>> import tempfile, nmcore
        >>> result = nmcore.compress("examples/fashion_mnist/lenet5.onnx", method="merge")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with result.draft(Path(folder) / "small.onnx") as draft:
        ...         draft.size() == result.graph.size()
        True
        """
        with drafting(checked_path(path)) as draft:
            self.graph.write_files(draft.folder, draft.target.name, external_data)
            yield draft
