"""What a compression gives: the smaller model, and the account of how it came about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nmcore.budgets.allocation import Spent
from nmcore.calibration.random_inputs import hints_of
from nmcore.data.dataset import Dataset
from nmcore.data.loading import DataLike, Opened
from nmcore.data.normalisation import Normalisation
from nmcore.errors import ArgumentError, ModelError
from nmcore.evaluation.fidelity import Fidelity, compared, fidelity
from nmcore.evaluation.inputs import data_for
from nmcore.evaluation.metrics.registry import Makers, MetricLike, metrics_of
from nmcore.evaluation.seed_spread import Spread
from nmcore.group import Cost, Declined
from nmcore.options.methods import RECONSTRUCTION
from nmcore.options.options import CompressOptions
from nmcore.pipeline.original import Original
from nmcore.plan.outcome import Outcome
from nmcore.plan.plan import Plan
from nmcore.plugins import capabilities, protocols, registry
from nmcore.plugins.states import restored, serialized_alike, state_changes
from nmcore.report import notebook, writers
from nmcore.report.phrases import state_note
from nmcore.report.report import Measures, Report, group_reports
from nmcore.report.vocabulary import Vocabulary
from nmcore.report.warnings import level_of, warnings_of
from nmcore.utils.files import Draft, drafting
from nmcore.utils.progress import Progress, silent


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """A compressed model and the account of how it came about.

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
    unconverted: Result | None = field(default=None, repr=False)

    @property
    def model(self) -> Any:
        """The compressed model, in the backend's own format."""
        return self.graph.result()

    def to_onnx(self) -> Any:
        """The compressed model as an ``onnx.ModelProto``, with all weights in it.

        Raises
        ------
        nmcore.errors.ModelError
            It is larger than protobuf allows (2 GiB), or its backend has no such form.

        Examples
        --------
        >>> import nmcore
        >>> result = nmcore.compress("examples/fashion_mnist/lenet5.onnx", method="merge")
        >>> result.to_onnx().graph.node[0].op_type
        'Conv'
        """
        if not isinstance(self.graph, capabilities.Convertible):
            raise ModelError("the backend of this model does not give it as ONNX")
        return self.graph.to_onnx()

    def serialize(self) -> bytes:
        """The compressed model as the bytes of a file; :meth:`save` writes large ones, too.

        Raises
        ------
        nmcore.errors.ModelError
            It is larger than protobuf allows (2 GiB).

        Examples
        --------
        >>> import nmcore
        >>> result = nmcore.compress("examples/fashion_mnist/lenet5.onnx", method="merge")
        >>> len(result.serialize()) == result.report.after.bytes
        True
        """
        return self.graph.serialize()

    def session(self, **options: Any) -> Any:
        """The compressed model loaded in the runtime: an ``onnxruntime.InferenceSession``.

        Parameters
        ----------
        **options
            Of ``InferenceSession``, such as ``providers`` and ``sess_options``. Without
            ``providers`` it runs on CUDA where that works, else on the CPU.

        Raises
        ------
        nmcore.errors.ModelError
            It is larger than protobuf allows (2 GiB), or the runtime has no sessions of its own.

        Examples
        --------
        >>> import nmcore, numpy as np
        >>> result = nmcore.compress("examples/fashion_mnist/lenet5.onnx", method="merge")
        >>> session = result.session(providers=["CPUExecutionProvider"])
        >>> (scores,) = session.run(None, {"input": np.zeros((2, 1, 28, 28), np.float32)})
        >>> scores.shape
        (2, 10)
        """
        runtime = registry.runtime()
        if not isinstance(runtime, capabilities.Native):
            raise ModelError(f"{runtime.name} has no sessions of its own")
        return runtime.native_session(self.serialize(), **options)

    def compare(
        self,
        data: DataLike | None = None,
        *,
        metric: MetricLike | Sequence[MetricLike] | None = None,
        samples: int | None = None,
        scale: float | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        preprocess: str | Path | Mapping[str, Any] | None = None,
        labels: str | Path | None = None,
    ) -> Fidelity:
        """Compare the result with the original, by any data and measure.

        Parameters
        ----------
        data : path, array, mapping, sequence of path, iterable of mapping, or reader, optional
            Inputs, and optionally the classes ``y``, as for :func:`nmcore.compress`, all of which
            are used; without it the inputs of :attr:`fidelity`.
        metric : str, callable, or sequence of these, optional
            As for :func:`nmcore.compress`; by default what the result was made with.
        samples : int, optional
            Use the first so many of the data.
        scale, mean, std, preprocess
            What raw inputs go through; by default the same as when the result was made.
        labels : path, optional
            As for :func:`nmcore.compress`.

        Raises
        ------
        nmcore.errors.NmcoreError
            The original's file is gone, the data does not fit, or the outputs are none that
            ``metric`` could be told of.

        Examples
        --------
        >>> import nmcore, numpy as np
        >>> result = nmcore.compress("examples/fashion_mnist/lenet5.onnx", ratio=0.2)
        >>> pictures = np.zeros((8, 1, 28, 28), np.float32)
        >>> result.compare(pictures, metric="agreement").n
        8
        """
        asked = metrics_of(metric)
        options = CompressOptions.checked(
            samples=samples, scale=scale, mean=mean, std=std, preprocess=preprocess, labels=labels
        )
        if data is None:
            given = [name.replace("_", "-") for name in options.changed]
            if given:
                raise ArgumentError(f"{' and '.join(given)} is of data, which is missing")
            return replace(self, metrics=asked).fidelity if asked else self.fidelity
        assert self.original is not None
        before = self.original.session()
        after = registry.runtime().session(serialized_alike(self.graph))
        steps = options.normalisation or self.normalisation
        hints = hints_of(self.original.graph)
        inputs = data_for(
            before, data, steps, samples=options.samples, hints=hints, labels=options.labels
        )
        found = fidelity(
            before,
            after,
            inputs,
            features=self._gives_features,
            asked=asked or self.metrics,
        )
        return replace(found, held=not self._fitted)

    def __getstate__(self) -> dict[str, Any]:
        changes = state_changes(self.graph)
        alike = serialized_alike(self.graph) if changes else None
        return {**self.__dict__, "graph": (self.serialize(), changes, alike)}

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
        self, before: protocols.Session, after: protocols.Session, progress: Progress = silent
    ) -> Fidelity:
        """The same of sessions that run the original and the result."""
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

    @property
    def report(self) -> Report:
        """The account as data, without latencies: those are measured by the command line.

        Outputs are compared where a metric was asked for.
        """
        return report_of(
            self,
            before=Measures.of(self.before, self.size, None),
            after=Measures.of(self.after, self.graph.size(), None),
            command=self.call,
            seed=self.seed,
            provider=None,
            threads=None,
            verified=self.verified,
            fidelity=self.fidelity if self.metrics and self.changed else None,
        )

    @property
    def warnings(self) -> Sequence[str]:
        """What makes the result useless, or next to it, a line each."""
        return self.report.warnings

    def __repr__(self) -> str:
        return notebook.report_text(self.report)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return notebook.report_html(self.report)

    def to_dict(self) -> dict[str, Any]:
        """The account as plain dicts, lists, strings and numbers."""
        return self.report.to_dict()

    def save_report(self, path: str | Path) -> None:
        """Write the account as JSON, or as a page, whichever the name asks for.

        Raises
        ------
        nmcore.errors.ArgumentError
            The name ends neither in ``.json`` nor in ``.html``, or cannot be written to.
        """
        writers.save(self.report, path)

    def save(self, path: str | Path, *, external_data: bool | None = None) -> None:
        """Write the compressed model; a crash leaves the old file at ``path`` or none.

        Parameters
        ----------
        path : path
            The model's file.
        external_data : bool, optional
            Whether large weights go into a file of their own beside it, whose name tells its
            content: ``<name>.<digits>.data``. By default only what one file cannot hold does
            (2 GiB).

        Raises
        ------
        nmcore.errors.ArgumentError
            The name ends neither in ``.onnx`` nor as that of the original's file, or the file
            cannot be written, or the disk is full.
        """
        source = self.original.model if self.original else None
        usual = Path(source).suffix.lower() if isinstance(source, (str, Path)) else ".onnx"
        if Path(path).suffix.lower() not in (".onnx", usual):
            raise ArgumentError(f"path is {path}; a name that ends in .onnx is needed")
        with self.draft(path, external_data=external_data) as draft:
            draft.publish(keep=self.original.data_files if self.original else ())

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
        with drafting(Path(path)) as draft:
            self.graph.write_files(draft.folder, draft.target.name, external_data)
            yield draft


def report_of(result: Result, *, unmeasured: Sequence[str] = (), **measured: Any) -> Report:
    """The account of a result as data, with the warnings that it calls for.

    Parameters
    ----------
    unmeasured : sequence of str
        What could not be measured of the two models, and why.
    measured
        The attributes of :class:`~nmcore.report.report.Report` that a result does not tell.
    """
    source, states = result.plan.model, state_changes(result.graph)
    report = Report(
        model=source.file if source else None,
        groups=group_reports(result.outcomes),
        declined=tuple(result.declined),
        notes=(
            *(result.vocabulary.notes(measured.get("fidelity")) if result.vocabulary else ()),
            *map(state_note, states),
            *result.notes,
        ),
        states=tuple(states),
        vocabulary=result.vocabulary,
        budget=result.budget,
        spread=result.spread,
        unmeasured=tuple(unmeasured),
        **measured,
    )
    warnings = (*warnings_of(report), *result.cautions, *unmeasured)
    return replace(report, warnings=warnings, level=level_of(report, warnings))
