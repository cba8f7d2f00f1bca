"""How good and how fast models are on the same inputs.

Everything here goes through :class:`nmcore.plugins.protocols.Session`; no framework is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nmcore.calibration.collect import scale_caution
from nmcore.calibration.random_inputs import hints_of
from nmcore.data.dataset import Dataset
from nmcore.data.loading import DataLike
from nmcore.errors import DataError
from nmcore.evaluation.comparison import Runner, Tally, changed_states, compare
from nmcore.evaluation.inputs import data_for
from nmcore.evaluation.latency import Latency, measure, on_one_device
from nmcore.evaluation.metrics.registry import OF_FORM, MetricLike, metrics_of
from nmcore.options import checks
from nmcore.options.options import CompressOptions
from nmcore.plugins import capabilities, protocols, registry
from nmcore.plugins.states import marked
from nmcore.utils.files import size_of
from nmcore.utils.logs import step
from nmcore.utils.progress import Progress, silent


@dataclass(frozen=True)
class Evaluation:
    """What one model does on a data set, and what it costs.

    Attributes
    ----------
    model : str
        The file, as given.
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


def evaluate(
    models: str | Path | Sequence[str | Path],
    data: DataLike | None = None,
    *,
    samples: int | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    preprocess: str | None = None,
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
    models : path, or sequence of path
        Model files.
    data : path, array, mapping, sequence of path, iterable of mapping, or reader, optional
        The inputs, and optionally the classes ``y`` (n,), as for :func:`nmcore.compress`. Without
        it inputs are synthetic, which tell how alike models are.
    samples : int, optional
        Use the first so many of the data, or make so many.
    scale, mean, std
        Inputs are ``(x / scale - mean) / std``; see :func:`nmcore.data.loading.load`.
    preprocess : str, optional
        The name of a scale, mean and std instead: ``imagenet``, ``clip``, ``unit`` (0 to 1) or
        ``minus-one`` (-1 to 1); see :data:`nmcore.data.normalisation.PREPROCESSING`.
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

    Raises
    ------
    ModelError, DataError
        A model cannot be used, or the data does not fit it, or one model runs on another device
        than the rest.
    """
    checks.checked({"progress": progress, "runs": runs})
    asked = metrics_of(metric)
    options = CompressOptions.checked(
        samples=samples,
        scale=scale,
        mean=mean,
        std=std,
        preprocess=preprocess,
        seed=seed,
        providers=providers,
        threads=threads,
    )
    paths = [Path(models)] if isinstance(models, (str, Path)) else [Path(each) for each in models]
    runtime = registry.runtime()
    runtime.check(options.providers)
    graphs = [registry.open_graph(path) for path in paths]
    sessions = [
        marked(runtime.session(path, providers=options.providers, threads=options.threads), graph)
        for path, graph in zip(paths, graphs, strict=True)
    ]
    inputs = data_for(
        sessions[0],
        data,
        options.normalisation,
        samples=options.samples,
        seed=options.seed,
        hints=hints_of(graphs[0]),
    )
    changed = changed_states(sessions)
    if changed:
        inputs = inputs.without(changed)
        notify(f"of different shapes, and zero for all models: the state {' and '.join(changed)}")
    runners = [_runner(*each, inputs) for each in zip(paths, sessions, strict=True)]
    if data is not None:
        caution = scale_caution(inputs, graphs[0], sessions[0].inputs[0].dtype)
        if caution is not None:
            notify(caution)
    for notice in dict.fromkeys(session.notice for session in sessions if session.notice):
        notify(notice)
    with step(f"running {len(runners)} models on {len(inputs)} inputs"):
        features = capabilities.gives_features(graphs[0])
        tallies = compare(runners, inputs, progress, asked=asked, features=features)
    if inputs.named_classes is not None and tallies[0].values.get("top1") is None:
        notify(
            f"no accuracy: {inputs.name} has {inputs.named_classes} folders, which are no classes "
            "of the model; call them by class numbers"
        )
    with step("timing"):
        once = [runner.once for runner in runners]
        times = on_one_device(sessions, lambda: measure(once, runs))
    source = None if data is None else inputs.name
    names = [*asked] or OF_FORM[tallies[0].form]
    return [
        _evaluation(*each, names, source)
        for each in zip(runners, tallies, times, graphs, paths, strict=True)
    ]


def _runner(path: Path, session: protocols.Session, inputs: Dataset) -> Runner:
    try:
        return Runner(str(path), session, inputs)
    except DataError as error:
        raise DataError(f"{path} does not take these inputs: {error}") from error


def _evaluation(
    runner: Runner,
    tally: Tally,
    time: Latency,
    graph: protocols.Graph,
    path: Path,
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
        bytes=size_of([path, *graph.data_files()]),
        provider=runner.session.provider,
        threads=runner.session.threads,
        data=source,
    )
