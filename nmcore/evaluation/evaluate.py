"""How good and how fast models are on the same inputs.

Everything here goes through :class:`nmcore.plugins.protocols.Session`; no framework is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nmcore.calibration.collect import scale_caution
from nmcore.calibration.random_inputs import hints_of
from nmcore.data.binding import shapes_in
from nmcore.data.dataset import Dataset
from nmcore.data.loading import DataLike
from nmcore.errors import ArgumentError, DataError
from nmcore.evaluation.comparison import Runner, Tally, changed_states, compare
from nmcore.evaluation.inputs import data_for
from nmcore.evaluation.latency import Latency, measure, on_one_device
from nmcore.evaluation.metrics.classes import TopClasses, classes_lost
from nmcore.evaluation.metrics.figures import in_words
from nmcore.evaluation.metrics.registry import OF_FORM, Makers, MetricLike, metrics_of
from nmcore.options import checks
from nmcore.options.options import CompressOptions
from nmcore.plugins import capabilities, protocols, registry
from nmcore.plugins.sized_session import sized
from nmcore.plugins.states import marked
from nmcore.utils.files import size_of
from nmcore.utils.logs import step, tell
from nmcore.utils.progress import Progress, silent
from nmcore.utils.text import counted, milliseconds, number, printable, size, stated_text


@dataclass(frozen=True, repr=False)
class Evaluation:
    """What one model does on a data set, and what it costs.

    Attributes
    ----------
    model : str
        The file, as given; ``model 1`` and so on of bytes and of objects.
    n : int
        How many inputs were used.
    top1 : float or None
        Percent of them whose top class is ``y``; None without ``y`` or class scores.
    agreement : float or None
        Percent on which it gives the first model's top class; None for the first model and
        without class scores.
    deviation : float or None
        Root mean square of the difference to the first model's outputs, over all that are
        floating-point numbers, in percent of the root mean square of these; None for the first
        model and where the two cannot be compared. Padding is left out.
    form : str
        What the first model's outputs were taken for; see :func:`nmcore.evaluation.forms.form_of`.
    metrics : mapping of str to float or None
        The figures that were asked for, by name, else those that suit ``form``; see
        :data:`nmcore.evaluation.metrics.registry.METRICS`. None where a figure compares with the
        first model, which this is.
    latency_ms : float
        Median time of one run.
    latency_low_ms, latency_high_ms : float
        The 10th and 90th percentile.
    latency_batch : int
        How many inputs such a run takes.
    params, macs, bytes : int
        Numbers in the weights, multiply-accumulates of one sample (None where unknown), and the
        size of the file with those that hold its weights.
    provider : str
        Where it ran.
    threads : int
        How many threads one operator may use.
    data : str or None
        The inputs, as given; None where they were synthetic.
    told : sequence of str
        What was counted for the metrics, in words.
    lost : sequence of str
        How the outputs plainly lost what the first model's are for, whatever was asked for; mostly
        empty.
    """

    model: str
    n: int
    top1: float | None
    agreement: float | None
    deviation: float | None
    form: str
    metrics: Mapping[str, float | None]
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    latency_batch: int
    params: int
    macs: int | None
    bytes: int
    provider: str
    threads: int
    data: str | None
    told: Sequence[str] = ()
    lost: Sequence[str] = ()

    def __repr__(self) -> str:
        words = ", ".join([*in_words(self.metrics), *self.told])
        inputs = counted(self.n, "input" if self.data is not None else "synthetic input")
        costs = f"{milliseconds(self.latency_ms)}, {number(self.params)} parameters, "
        costs += f"{number(self.macs)} MACs, {size(self.bytes)}"
        return (
            f"Evaluation({printable(self.model)}: {words or 'the first model'}; {inputs}; {costs})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        return asdict(self)


def evaluate(
    models: registry.ModelLike | Sequence[registry.ModelLike],
    data: DataLike | None = None,
    *,
    samples: int | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    preprocess: str | Path | Mapping[str, Any] | None = None,
    labels: str | Path | None = None,
    input_shape: Mapping[str, Sequence[int]] | Sequence[int] | None = None,
    seed: int = 0,
    providers: Sequence[str] = ("auto",),
    threads: int = 0,
    runs: int | None = None,
    metric: MetricLike | Sequence[MetricLike] | None = None,
    progress: Progress = silent,
    notify: Callable[[str], None] = lambda _line: None,
) -> list[Evaluation]:
    """Run models on the same inputs and compare each with ``y`` and with the first model.

    Without ``metric`` the form of the outputs decides what is told; see
    :func:`nmcore.evaluation.forms.form_of`. The first output holds class scores where it has one
    axis of more than one number besides the batch, unless the graph shows that these are features,
    as behind a norm or a mean over positions; a vector of integers is taken for the classes
    themselves. Of detectors it is the boxes, of recognisers the strings, of masks their overlap, of
    pictures signal-to-noise ratio and structural similarity, of vectors, one an input or a
    position, the cosine, and of all the deviation.

    Parameters
    ----------
    models : path, bytes or object, or sequence of these
        Model files, their content, or objects that an installed backend understands.
    data : path, array, mapping, sequence of path, iterable of mapping, or reader, optional
        The inputs, and optionally the classes ``y`` (n,), as for :func:`nmcore.compress`. Without
        it inputs are synthetic, which tell how alike models are.
    samples : int, optional
        Use the first so many of the data, or make so many.
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
    seed : int
        For synthetic inputs.
    providers : sequence of {"auto", "cuda", "cpu"}
        Where to run, in order of preference.
    threads : int
        Threads that one operator may use on the CPU; 0 for all there are.
    runs : int, optional
        How many runs of each model are timed; by default as many as make a steady median.
    metric : str, callable, or sequence of these, optional
        What to tell instead: names of :data:`nmcore.evaluation.metrics.registry.METRICS`, or
        functions of the outputs of the first model, those of the model in question, and ``y`` or
        None, that give a number. Such outputs are lists of arrays (n, ...), all of which are held
        in memory.
    progress : callable, optional
        Wraps the iteration over batches, as in ``progress("evaluating", starts)``.
    notify : callable, optional
        Takes lines that the user should know.

    Returns
    -------
    list of Evaluation
        One a model, in their order.

    Raises
    ------
    nmcore.errors.NmcoreError
        A model or an option cannot be used, or the data does not fit, or one model runs on another
        device than the rest.

    Examples
    --------
    >>> import nmcore
    >>> model = "examples/fashion_mnist/lenet5.onnx"
    >>> small = nmcore.compress(model, ratio=0.1, method="ridge")
    >>> before, after = nmcore.evaluate([model, small.serialize()])
    >>> after.params < before.params, after.agreement > 80
    (True, True)
    """
    checks.checked({"progress": progress, "runs": runs})
    asked = metrics_of(metric)
    options = CompressOptions.checked(
        samples=samples,
        scale=scale,
        mean=mean,
        std=std,
        preprocess=preprocess,
        labels=labels,
        input_shape=input_shape,
        seed=seed,
        providers=providers,
        threads=threads,
    )
    runtime = registry.runtime()
    runtime.check(options.providers)
    given = registry.models_in(models)
    if not given:
        raise ArgumentError("models is empty; at least one is needed")
    if len(given) == 1:
        _check_alone(asked)
    stated = options.input_shape
    graphs = [registry.open_graph(model, stated) for model in given]
    sessions = [
        marked(
            sized(
                runtime.session(
                    model if isinstance(model, (Path, bytes)) else graph.serialize(),
                    providers=options.providers,
                    threads=options.threads,
                ),
                stated,
            ),
            graph,
        )
        for model, graph in zip(given, graphs, strict=True)
    ]
    inputs = data_for(
        sessions[0],
        data,
        options.normalisation,
        samples=options.samples,
        seed=options.seed,
        hints=hints_of(graphs[0]),
        labels=options.labels,
    )
    if data is None and options.normalisation is not None:
        notify("synthetic inputs go through the preprocessing; --data takes real ones")
    changed = changed_states(sessions)
    if changed:
        _check_no_past(sessions[0], inputs, changed)
        inputs = inputs.without(changed)
        notify(f"all models start from zeros, as shapes differ: {', '.join(changed)}")
    names = registry.names_of(given)
    runners = [_runner(*each, inputs) for each in zip(names, sessions, strict=True)]
    if data is not None:
        caution = scale_caution(inputs, graphs[0], sessions[0].inputs[0].dtype)
        if caution is not None:
            tell(caution)
    for notice in dict.fromkeys(session.notice for session in sessions if session.notice):
        notify(notice)
    with step(f"running {len(runners)} models on {len(inputs)} inputs"):
        features = capabilities.gives_features(graphs[0])
        tallies = compare(runners, inputs, progress, asked=asked, features=features)
    top1 = tallies[0].metrics.get("top1")
    if isinstance(top1, TopClasses) and top1.by_chance is not None:
        notify(
            f"{names[0]} is right on {top1.by_chance}: are the labels right, and what inputs go "
            "through (--preprocess, --scale, --mean, --std)?"
        )
    if inputs.named_classes is not None and tallies[0].values.get("top1") is None:
        notify(
            f"no accuracy: {inputs.name} names {inputs.named_classes} classes, and the model has "
            "others; call them by class numbers"
        )
    open_sizes = graphs[0].cost().assumed
    if open_sizes:
        what = "synthetic inputs and MACs" if data is None else "MACs"
        notify(
            f"{what} are of {stated_text(open_sizes)}, a guess: the model leaves sizes open "
            "(--input-shape)"
        )
    with step("timing"):
        once = [runner.once for runner in runners]
        times = on_one_device(sessions, lambda: measure(once, runs))
    source = None if data is None else inputs.name
    told = [*asked] or OF_FORM[tallies[0].form]
    found = [
        _evaluation(*each, told, source)
        for each in zip(runners, tallies, times, graphs, given, strict=True)
    ]
    return [found[0], *(_with_lost_classes(each, found[0].top1) for each in found[1:])]


def _with_lost_classes(found: Evaluation, before: float | None) -> Evaluation:
    """An evaluation that tells where classes are plainly lost, and nothing else is."""
    lost = None if found.lost else classes_lost(before, found.top1, found.agreement)
    return found if lost is None else replace(found, lost=[lost])


def _check_alone(asked: Makers) -> None:
    """Raise where a metric compares with the first model, and there is no other."""
    relative = [name for name, make in asked.items() if make().relative]
    if relative:
        verb = "compares" if len(relative) == 1 else "compare"
        raise ArgumentError(
            f"metric {' and '.join(relative)} {verb} models with the first one; a second model is "
            "needed"
        )


def _check_no_past(session: protocols.Session, inputs: Dataset, changed: Container[str]) -> None:
    """Raise where data bring a past with heads that not all of the models have."""
    for spec in session.inputs:
        given = inputs.arrays.get(spec.name) if spec.name in changed else None
        if given is not None and spec.grows is not None and any(map(math.prod, shapes_in(given))):
            raise DataError(
                f"{inputs.name} holds {spec.name}, whose heads are not the same in all models, "
                "and no file tells which are left: leave out what is of the past"
            )


def _runner(name: str, session: protocols.Session, inputs: Dataset) -> Runner:
    try:
        return Runner(name, session, inputs)
    except DataError as error:
        raise DataError(f"{name} does not take these inputs: {error}") from error


def _bytes_of(model: registry.ModelLike, graph: protocols.Graph) -> int:
    """The size of a model's file with those that hold its weights, or of it as one file."""
    if isinstance(model, Path):
        return size_of([model, *graph.data_files()])
    return len(model) if isinstance(model, bytes) else graph.size()


def _evaluation(
    runner: Runner,
    tally: Tally,
    time: Latency,
    graph: protocols.Graph,
    model: registry.ModelLike,
    names: Sequence[str],
    source: str | None,
) -> Evaluation:
    cost = graph.cost()
    return Evaluation(
        model=runner.name,
        n=tally.n,
        top1=tally.values.get("top1"),
        agreement=tally.values.get("agreement"),
        deviation=tally.values["deviation"],
        form=tally.form,
        metrics=tally.figures(names),
        told=[told for name in names if (told := tally.metrics[name].told()) is not None],
        lost=tally.lost,
        latency_ms=time.median_ms,
        latency_low_ms=time.low_ms,
        latency_high_ms=time.high_ms,
        latency_batch=runner.feed.fixed or 1,
        params=cost.params,
        macs=cost.macs,
        bytes=_bytes_of(model, graph),
        provider=runner.session.provider,
        threads=runner.session.threads,
        data=source,
    )
