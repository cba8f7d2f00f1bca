"""What a compression gives: the smaller model, and the account of how it came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nmcore.calibration.collect import scale_caution
from nmcore.calibration.random_inputs import hints_of
from nmcore.data.loading import DataLike
from nmcore.errors import ArgumentError, DataError, ModelError
from nmcore.evaluation.fidelity import Fidelity, fidelity
from nmcore.evaluation.inputs import data_for
from nmcore.evaluation.metrics.registry import MetricLike, metrics_of
from nmcore.options.options import CompressOptions
from nmcore.pipeline.compressed import Compressed
from nmcore.pipeline.measuring import drafted, measured
from nmcore.plugins import capabilities, registry
from nmcore.plugins.states import serialized_alike, state_changes
from nmcore.report import notebook, writers
from nmcore.report.phrases import state_note
from nmcore.report.report import Measures, Report, group_reports
from nmcore.report.warnings import level_of, warnings_of
from nmcore.utils.files import check_writable, checked_path
from nmcore.utils.logs import tell


class Result(Compressed):
    """A compressed model and the account of how it came about.

    Its attributes are those of :class:`~nmcore.pipeline.compressed.Compressed`. It can be pickled:
    what comes back holds the compressed model, its account and the data that was given, and reads
    the original's file again where it compares.
    """

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
            What raw inputs go through; by default the same as when the result was made. What has
            gone through it already needs ``scale=1``.
        labels : path, optional
            As for :func:`nmcore.compress`.

        Raises
        ------
        nmcore.errors.NmcoreError
            The original's file is gone, the data does not fit or plainly was scaled before, or the
            outputs are none that ``metric`` could be told of.

        Examples
        --------
        >>> import nmcore, numpy as np
        >>> result = nmcore.compress("examples/fashion_mnist/lenet5.onnx", method="merge")
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
        if options.normalisation is None and inputs.scaled_twice is not None:
            low, high = inputs.scaled_twice
            raise DataError(
                f"{inputs.name} lies from {low:.3g} to {high:.3g}, and would be scaled again as "
                "what the result was made with; scale=1 takes it as it is"
            )
        caution = scale_caution(inputs, self.original.graph, before.inputs[0].dtype)
        if caution is not None:
            tell(caution)
        found = fidelity(
            before,
            after,
            inputs,
            features=self._gives_features,
            asked=asked or self.metrics,
        )
        return replace(found, held=not self._fitted)

    @property
    def report(self) -> Report:
        """The account as far as it is known without running both models.

        Their times and the loss are in :attr:`measured`; here outputs are compared where a metric
        was asked for.
        """
        return report_of(
            self,
            before=Measures.of(self.before, self.size, None),
            after=Measures.of(self.after, self.graph.size(), None),
            provider=None,
            threads=None,
            fidelity=self.fidelity if self.metrics and self.changed else None,
        )

    @cached_property
    def measured(self) -> Report:
        """The account with what running both models tells: their times, what the smaller one costs
        on the inputs of :attr:`fidelity`, and both layer by layer, as the program writes it.

        It takes seconds, and is measured once.

        Raises
        ------
        nmcore.errors.NmcoreError
            The original's file is gone, or the outputs are none that ``metric`` could be told of.
        nmcore.errors.VerificationError
            The original loads and runs, and the result does not: a bug in nmcore.

        Examples
        --------
        >>> import nmcore
        >>> result = nmcore.compress("examples/fashion_mnist/lenet5.onnx", method="merge")
        >>> result.measured.fidelity == result.fidelity, result.measured.after.latency_ms > 0
        (True, True)
        """
        with drafted(self) as draft:
            return report_of(self, **measured(self, draft, profiled=True))

    @property
    def warnings(self) -> Sequence[str]:
        """What makes the result useless, or next to it, a line each, as :attr:`report` tells;
        ``measured.warnings`` also tell where the outputs lost what they were for.
        """
        return self.report.warnings

    @property
    def _known(self) -> Report:
        """What is known of it so far."""
        return self.measured if "measured" in self.__dict__ else self.report

    def __repr__(self) -> str:
        return notebook.report_text(self._known)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return notebook.report_html(self._known)

    def to_dict(self) -> dict[str, Any]:
        """The account of :attr:`measured` as plain dicts, lists, strings and numbers."""
        return self.measured.to_dict()

    def save_report(self, path: str | Path) -> None:
        """Write the account of :attr:`measured` as JSON, or as a page, whichever the name asks for.

        Raises
        ------
        nmcore.errors.ArgumentError
            The name ends neither in ``.json`` nor in ``.html``, or cannot be written to.
        nmcore.errors.NmcoreError
            As for :attr:`measured`.
        """
        target = checked_path(path)
        writers.check_format(target)
        check_writable(target)
        writers.save(self.measured, target)

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
        path = checked_path(path)
        if path.suffix.lower() not in (".onnx", usual):
            raise ArgumentError(f"path is {path}; a name that ends in .onnx is needed")
        with self.draft(path, external_data=external_data) as draft:
            draft.publish(keep=self.original.data_files if self.original else ())


def report_of(
    result: Result, *, command: str = "", unmeasured: Sequence[str] = (), **measured: Any
) -> Report:
    """The account of a result as data, with the warnings that it calls for.

    Parameters
    ----------
    command : str
        What to say to get the same again; by default the call of :func:`nmcore.compress`.
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
        command=command or result.call,
        seed=result.seed,
        verified=result.verified,
        **measured,
    )
    warnings = (*warnings_of(report), *result.cautions, *unmeasured)
    return replace(report, warnings=warnings, level=level_of(report, warnings))
