"""What each group of channels can lose: predicted without labels, and measured where there is data.

The prediction is the error curve that the default method rests on: channels go one by one, each
time the one that costs least, and what reads them is refitted. The measurement cuts one group at a
time and compares the whole model with the original.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nmcore.arrays.elimination import (
    Curve,
    Problem,
    eliminate,
    problem,
)
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.calibration.collect import REAL_SAMPLES, Inputs, calibration_set_for
from nmcore.compression.merging import joined
from nmcore.compression.reconstruct_all import reconstruct_all
from nmcore.compression.reconstruction import MAX_FEATURES, Reconstruction
from nmcore.data.dataset import Dataset
from nmcore.data.loading import DataLike, open_data
from nmcore.errors import ArgumentError, DataError, ModelError
from nmcore.evaluation.fidelity import Fidelity, fidelity
from nmcore.evaluation.metrics.registry import MetricLike, check_measures_loss, metrics_of
from nmcore.group import Consumer, Group
from nmcore.options import checks
from nmcore.options.methods import RECONSTRUCTION
from nmcore.options.options import CompressOptions, MethodOptions
from nmcore.pipeline.job import Job
from nmcore.pipeline.original import Original
from nmcore.plan.selection import kept_count
from nmcore.plan.summaries import CurveSummary
from nmcore.plan.task import Task
from nmcore.plugins import capabilities, protocols, registry
from nmcore.plugins.states import serialized_alike
from nmcore.report.sensitivity import RATIOS, GroupSensitivity, Sensitivity
from nmcore.utils.logs import step
from nmcore.utils.progress import Progress, silent
from nmcore.utils.spread import spread
from nmcore.utils.text import counted

# A group whose loss but for one channel is below this has nothing to lose on the inputs at hand.
NO_SIGNAL = 1e-12
WEIGHTS_ALONE = "weights alone, as if inputs were white noise and activations linear"


def sensitivity(
    model: registry.ModelLike,
    *,
    data: DataLike | None = None,
    samples: int | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    preprocess: str | Path | Mapping[str, Any] | None = None,
    labels: str | Path | None = None,
    input_shape: Mapping[str, Sequence[int]] | Sequence[int] | None = None,
    providers: Sequence[str] = ("auto",),
    seed: int = 0,
    metric: MetricLike | Sequence[MetricLike] | None = None,
    states: bool = False,
    progress: Progress = silent,
) -> Sensitivity:
    """Tell what each group of channels can lose, cut alone.

    Without data the errors are predicted on synthetic inputs, or from the weights alone where the
    model runs on none. With data they are predicted on that, and what the model loses is measured
    too.

    Parameters
    ----------
    model : path, bytes or object
        A model file, its content, or an object that an installed backend understands. It is never
        changed.
    data : path, array, mapping, sequence of path, iterable of mapping, or reader, optional
        Inputs, and optionally the classes ``y``, as for :func:`nmcore.compress`.
    samples : int, optional
        How many inputs to use or to make; at most 256 of ``data``, or 512 synthetic ones.
    scale, mean, std
        Inputs are ``(x / scale - mean) / std``; see :func:`nmcore.data.loading.load`.
    preprocess : str, path or mapping, optional
        The name of a scale, mean and std instead, and of how pictures are resized: of
        :data:`nmcore.data.preprocessing.PREPROCESSING`, such as ``imagenet`` or ``yolo``; a JSON
        file; or what such a file holds, as ``{"scale": 255, "order": "bgr"}``.
    labels : path, optional
        A CSV of ``file,label`` for ``data`` that is a folder, where neither its subfolders are the
        classes nor a ``labels.csv`` in it says them.
    input_shape : mapping of str to shape, or shape, optional
        The shapes of inputs, as ``{"images": (1, 3, 640, 640)}``, or one alone of a model with one
        input, where the model leaves sizes open: for counting, synthetic inputs, pictures and
        times.
    providers : sequence of {"auto", "cuda", "cpu"}
        Where the model runs.
    seed : int
        For synthetic inputs.
    metric : str, callable, or sequence of these, optional
        What the loss is measured by on ``data``, the first of several, as for
        :func:`nmcore.compress`; by default what suits the form of the outputs.
    states : bool
        Whether groups count that are states of the model, as for :func:`nmcore.compress`.
    progress : callable
        Wraps the iteration over groups, as in ``progress("measuring", groups)``.

    Returns
    -------
    Sensitivity

    Raises
    ------
    nmcore.errors.NmcoreError
        The model or the data cannot be used.

    Examples
    --------
    >>> import nmcore
    >>> found = nmcore.sensitivity("examples/fashion_mnist/lenet5.onnx", samples=64)
    >>> [group.width for group in found.groups], found.source
    ([16, 32, 120, 84], '64 synthetic inputs')
    >>> all(a < b for group in found.groups for a, b in zip(group.error, group.error[1:]))
    True
    """
    checks.checked({"progress": progress})
    metrics = metrics_of(metric)
    check_measures_loss(metrics)
    if metrics and data is None:
        raise ArgumentError("metric measures the loss on data, which is missing")
    options = CompressOptions.checked(
        samples=samples,
        scale=scale,
        mean=mean,
        std=std,
        preprocess=preprocess,
        labels=labels,
        input_shape=input_shape,
        providers=providers,
        seed=seed,
        states=states,
    )
    registry.runtime().check(options.providers)
    original = Original(model, options.providers, options.input_shape)
    job = Job(
        original.with_states() if options.states else original,
        options,
        open_data(data, options.normalisation, options.labels),
        progress,
        metrics=metrics,
    )
    curves, calibration, source = _predicted(job)
    found = Sensitivity(_rows(job.original.graph, curves), source)
    if job.data is None or calibration is None:
        return found
    return _Measuring(job, calibration, _evaluated(job)).complete(found)


def _predicted(job: Job) -> tuple[dict[str, Curve], CalibrationSet | None, str]:
    """The error curves, what was shown to the model, and what they rest on."""
    graph, options = job.original.graph.clone(), job.options
    try:
        if not isinstance(graph, protocols.Measurable):
            raise ModelError("its backend measures nothing")
        inputs = Inputs(job.data, options.samples, options.normalisation)
        calibration = calibration_set_for(graph, job.original.session(), inputs, options.seed)
        walk = Reconstruction(graph, registry.runtime(), calibration, options.providers)
        walk.prepare()
        fitting = [group for group in graph.groups if walk.fits(group)]
        with step(f"measuring the error curves of {len(fitting)} groups"):
            return walk.curves.of(fitting, job.progress), calibration, calibration.source
    except (ModelError, DataError) as error:
        if job.data is not None:
            raise
        groups = job.progress("measuring", graph.groups)
        curves = {g.name: weight_curve(graph, g) for g in groups if g.width <= MAX_FEATURES}
        return curves, None, f"{WEIGHTS_ALONE}: {error}"


def weight_curve(graph: protocols.Graph, group: Group) -> Curve:
    """The error curve of a group if its inputs were white noise and its activations linear.

    The covariance of the channels is W W' then, with the biases as one more column of W; the taps
    of a channel are taken to be as alike as those of another.
    """
    producer = joined(graph.producers(group)).folded()
    rows = producer.weight.reshape(len(producer.weight), -1).astype(np.float64)
    if producer.bias is not None:
        rows = np.column_stack([rows, producer.bias])
    covariance = rows @ rows.T
    problems = [_weight_problem(consumer, covariance) for consumer in graph.consumers(group)]
    return Curve(*eliminate(problems, 1))


def _weight_problem(consumer: Consumer, covariance: np.ndarray[Any, Any]) -> Problem:
    weight = np.swapaxes(consumer.weight, 0, 1).reshape(len(covariance), -1).astype(np.float64)
    cross = covariance @ weight
    return problem(covariance, cross, weight, 1, unit=float((weight * cross).sum()) or 1.0)


def _rows(graph: protocols.Graph, curves: Mapping[str, Curve]) -> tuple[GroupSensitivity, ...]:
    known = graph.cost().macs is not None
    terms = graph.terms()
    rows = []
    for group in graph.groups:
        own = [term for term in terms if group.name in term.groups]
        curve = curves.get(group.name)
        rows.append(
            _row(
                group,
                round(sum(term.params for term in own)),
                round(sum(term.macs for term in own)) if known else None,
                None if curve is None else curve.averaged(len(group.consumers)),
            )
        )
    return tuple(rows)


def _row(group: Group, params: int, macs: int | None, curve: Curve | None) -> GroupSensitivity:
    removed = tuple(group.width - kept_count(group.width, ratio) for ratio in RATIOS)
    note = _silence(curve)
    errors: tuple[float | None, ...] = (None,) * len(RATIOS)
    if curve is not None and not note:
        errors = tuple(float(curve.error[count - 1]) if count else None for count in removed)
    return GroupSensitivity(
        name=group.name,
        width=group.width,
        params=params,
        macs=macs,
        removed=removed,
        error=errors,
        drop=(None,) * len(RATIOS),
        note=note,
        curve=None if curve is None or note else CurveSummary.of(curve, group.width, group.width),
    )


def _silence(curve: Curve | None) -> str:
    """Why a curve says nothing about a group, which must not pass for robust; else empty."""
    if curve is None:
        return f"more than {MAX_FEATURES:,} features: not measured"
    if not np.isfinite(curve.error).all():
        return "what reads it computes no finite numbers"
    if curve.error.max(initial=0.0) < NO_SIGNAL:
        return "constant on these inputs, which says nothing about others"
    return ""


def _evaluated(job: Job) -> Dataset:
    """The inputs to measure on, evenly spread over the data."""
    assert job.data is not None
    count = job.options.samples or REAL_SAMPLES
    data = job.data.for_model(job.original.session().inputs, count)
    return data.part(spread(len(data), count))


@dataclass(frozen=True, eq=False)
class _Measuring:
    """Cutting one group at a time and comparing the whole model with the original."""

    job: Job
    calibration: CalibrationSet
    data: Dataset

    def complete(self, found: Sensitivity) -> Sensitivity:
        """Add what the model loses."""
        tasks = [
            (row.name, row.width, count)
            for row in found.groups
            for count in sorted(set(row.removed) - {0})
        ]
        with step(f"cutting one group at a time, {len(tasks)} times"):
            lost = {
                (name, count): self._cut(name, width - count)
                for name, width, count in self.job.progress("cutting one group at a time", tasks)
            }
        measure = _measure(lost.values())
        groups = tuple(
            replace(row, drop=tuple(_drop(measure, lost.get((row.name, n))) for n in row.removed))
            for row in found.groups
        )
        on = f"{counted(len(self.data), 'input')} of {self.data.name}"
        return replace(found, groups=groups, measure=measure, measured_on=on)

    def _cut(self, name: str, kept: int) -> Fidelity:
        original, options = self.job.original, self.job.options
        graph = original.graph.clone()
        assert isinstance(graph, protocols.Measurable)
        counts = {group.name: group.width for group in graph.groups} | {name: kept}
        method = MethodOptions(method=RECONSTRUCTION, seed=options.seed)
        task = Task(counts, frozenset(), None, method, fits_blocks=False)
        graph = reconstruct_all(graph, task, self.calibration, options.providers).graph
        after = registry.runtime().session(serialized_alike(graph), providers=options.providers)
        features = capabilities.gives_features(original.graph)
        return fidelity(
            original.session(), after, self.data, features=features, asked=self.job.metrics
        )


def _measure(results: Collection[Fidelity]) -> str | None:
    """What all comparisons measured their loss by; else the deviation, where all have one."""
    measures = {None if one.loss is None else one.loss.metric for one in results}
    if len(measures) == 1 and (measure := measures.pop()) is not None:
        return measure
    known = bool(results) and all(one.deviation is not None for one in results)
    return "deviation" if known else None


def _drop(measure: str | None, found: Fidelity | None) -> float | None:
    if found is None or measure is None:
        return None
    if found.loss is not None and found.loss.metric == measure:
        return found.loss.points
    return found.deviation
