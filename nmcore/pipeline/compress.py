"""From a model to a smaller one: groups, kept channels, compensation, proof.

This module decides the order of the steps and nothing else; each step lives in its own module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nmcore.calibration.collect import REAL_SAMPLES, Inputs, calibration_set_for
from nmcore.calibration.hold_back import wanted
from nmcore.compression.baseline import Baseline
from nmcore.compression.merging import merge_all
from nmcore.compression.reconstruct_all import reconstruct_all
from nmcore.data.dataset import Dataset
from nmcore.data.loading import DataLike, Opened, open_data
from nmcore.errors import DataError, ModelError, blaming
from nmcore.evaluation.metrics.registry import MetricLike, metrics_of
from nmcore.evaluation.seed_spread import SEED_HINT, check_tries
from nmcore.evaluation.verification import verify as prove
from nmcore.options import checks
from nmcore.options.methods import RECONSTRUCTION
from nmcore.options.options import CompressOptions
from nmcore.options.recipe import strategy, unused
from nmcore.pipeline.call import file_name, written_call
from nmcore.pipeline.conversion import check_convertible, check_unconverted, converted
from nmcore.pipeline.job import Job
from nmcore.pipeline.original import Original
from nmcore.pipeline.plan_of_result import plan_of_result
from nmcore.pipeline.resolve import scope, spent, task_of
from nmcore.pipeline.result import Result
from nmcore.pipeline.search import best_of_seeds, parts, within_drop
from nmcore.pipeline.vocabulary import read_ids, with_vocabulary
from nmcore.plan import fingerprint, replay, serialization
from nmcore.plan.outcome import Outcome, untouched
from nmcore.plan.plan import Plan, Source
from nmcore.plan.task import Task
from nmcore.plugins import capabilities, protocols, registry
from nmcore.utils.logs import step
from nmcore.utils.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class _Done:
    """What became of the groups.

    Attributes
    ----------
    graph, outcomes, notes
        As in :class:`Result`.
    shown : Source or None
        The data that was measured on.
    latency : float or None
        The share of the original's time that was reached, where that was the budget.
    cautions : sequence of str
        Why what was measured may be worth little.
    held : Dataset or None
        Data that nothing was fitted to.
    """

    graph: protocols.Graph
    outcomes: Sequence[Outcome]
    notes: Sequence[str]
    shown: Source | None = None
    latency: float | None = None
    cautions: Sequence[str] = ()
    held: Dataset | None = None


def compress(
    model: registry.ModelLike,
    *,
    ratio: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    latency: float | None = None,
    max_drop: float | None = None,
    round_to: int | str | None = None,
    method: str = "auto",
    criterion: str = "auto",
    threshold: float | None = None,
    lam: float | None = None,
    bn_form: str = "auto",
    keep: Mapping[str, int] | None = None,
    exclude: Sequence[str] = (),
    only: Sequence[str] = (),
    vocabulary: int | Sequence[int] | str | Path | None = None,
    states: bool = False,
    plan: str | Path | Plan | Mapping[str, Any] | None = None,
    data: DataLike | None = None,
    samples: int | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    preprocess: str | Path | Mapping[str, Any] | None = None,
    labels: str | Path | None = None,
    input_shape: Mapping[str, Sequence[int]] | Sequence[int] | None = None,
    then: str | None = None,
    verify: bool = False,
    providers: Sequence[str] = ("auto",),
    threads: int = 0,
    seed: int = 0,
    tries: int = 1,
    metric: MetricLike | Sequence[MetricLike] | None = None,
    progress: Progress = silent,
    executor: Executor | None = None,
) -> Result:
    """Remove channels from a model and fold what they did into the next layers.

    Parameters
    ----------
    model : path, bytes or object
        A model file, its content, or an object that an installed backend understands. It is never
        changed.
    ratio : float, in [0, 1), optional
        The share of channels removed in every group. Without it and without a budget, half of
        them; or none where ``keep`` says which groups to touch.
    macs, params : float, above 0 and up to 1, optional
        A budget instead of a ratio: keep at most this share of the whole model's
        multiply-accumulates or parameters. Groups then lose different shares.
    latency : float, above 0 and up to 1, optional
        Another budget: take at most this share of the original's time, in the runtime on this
        machine, as timed on the first inputs of ``data``, else on random ones.
    max_drop : float, in [0, 100), optional
        Or, instead: the smallest model, by its multiply-accumulates, that loses at most so many
        percentage points: of top-1 accuracy where ``data`` has ``y``, else of agreement with the
        original; or of what the first ``metric``, or that of the outputs' form, measures. At most
        half of the inputs, ``samples``, are measured on; the loss is estimated on others.
    round_to : int or "auto", optional
        Groups that lose channels keep a multiple of this number (not those that ``keep`` names).
        Many runtimes are slow on odd widths. ``auto`` times multiples of 1, 4, 8 and 16 and takes
        what suits the runtime. The default is ``auto`` with ``latency``; with ``macs`` or
        ``params`` the coarsest of 16, 8 and 4 that adds at most a quarter to the predicted error,
        or 1 where none of them meets the budget; and 1 with ``ratio``.
    method, criterion, threshold, lam, bn_form, seed
        See :class:`nmcore.options.options.MethodOptions`.
    keep : mapping of pattern to count, optional
        How many channels the groups keep whose names match, or that hold what matches; the last
        match counts.
    exclude, only : sequence of pattern
        Nodes, weights or PyTorch modules, such as ``layer3.0.conv1``, whose channels must not, or
        alone may, be removed.
    vocabulary : int, sequence of int or path, optional
        How many rows the largest embedding table keeps: those that ``data`` looks up, all of it,
        and those that others replace worst; or the ids of the rows, or a text file that lists them.
        Each other row is made of kept ones, so ids stay what they are. Without another amount
        nothing else is removed. See :mod:`nmcore.arrays.vocabulary`.
    states : bool
        Whether recurrent layers may shrink whose states are inputs and outputs of the model, and
        heads whose keys and values of the past are. These then have other shapes, which
        :attr:`Result.report` tells: whoever feeds them has to know.
    plan : path, Plan or mapping, optional
        Which channels each group keeps, instead of all that chooses them: a file for
        :func:`nmcore.load_plan`, or ``{"groups": {name: channels}}`` with channels as a list or an
        int array of shape (P,). A layer or a module may stand for its group.
        Groups that it does not name keep all. A plan that nmcore saved also states the options, the
        model and the data it was made with, and gives the same result to the bit; one from
        elsewhere is compensated as the options say.
    data : path, array, mapping, sequence of path, iterable of mapping, or reader, optional
        Unlabelled inputs: an .npz with ``x``, or with an array for each input of the model by its
        name; a folder of pictures or of sound, or a list of files of pictures; an array (n, ...),
        or a mapping of what a file would hold; or feeds, one mapping a run, in a list, a generator
        or an ``onnxruntime.quantization.CalibrationDataReader``; see
        :func:`nmcore.data.loading.in_memory`. Without them synthetic ones are made; where the model
        runs on none of these, the test data beside it is used (folders ``test_data_set_*``).
        Results are compared on them, too.
    samples : int, optional
        How many inputs to use or to make; 256 of ``data``, or 256 to 2048 synthetic ones, the more
        the smaller the model. Crops supplement photographs up to so many, and up to 256.
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
        times. The result leaves open what the model does.
    then : {"int8", "fp16"}, optional
        What the weights of the smaller model become in the end, by the runtime's own converter;
        :attr:`Result.unconverted` is the result before that. Networks of convolutions are quantised
        with ranges that are measured on ``data``, or on synthetic inputs; others with ranges of
        each input. Types of inputs and outputs stay.
    verify : bool
        Prove in the runtime that the result equals a full-width model: for methods with a Z, the
        original with its removed channels rebuilt through Z; for ``moments``, the original with
        the refitted weights, which proves the cutting and not the refitting.
    providers : sequence of {"auto", "cuda", "cpu"}
        Where models run.
    threads : int
        Threads that one operator may use on the CPU where latency is measured; 0 for all.
    tries : int, from 1
        Without data the result depends on the seed of the synthetic inputs. Compress with so many
        seeds, from ``seed`` on, take what is nearest to the original on other synthetic inputs,
        which need not be the best on real ones, and tell in :attr:`Result.spread` how alike they
        are.
    metric : str, callable, or sequence of these, optional
        What :attr:`Result.fidelity` tells, and the first ``max_drop`` limits: names of
        :data:`nmcore.evaluation.metrics.registry.METRICS`, or functions of the outputs of the
        original, those of the result, and ``y`` or None, that give a number, of which more is
        better. By default the form of the outputs decides.
    progress : callable
        Wraps the iteration over groups, as in ``progress("merging", groups)``.
    executor : concurrent.futures.Executor, optional
        Solves groups side by side where a method looks at weights alone: threads, processes, or
        ``client.get_executor()`` of dask.distributed. The result is the same to the bit where every
        worker uses as many threads as this process; the weights of up to eight groups are held at a
        time, instead of one's. ``moments`` walks groups one after the other, each on what became of
        those before, so only the merged model that it is compared with gains. One model seldom
        does, as matrix products use all threads already and weights have to travel to processes.
        Cells of :func:`nmcore.sweep` are worth more.

    Returns
    -------
    Result

    Raises
    ------
    nmcore.errors.NmcoreError
        The model, the data, the plan or an option cannot be used.
    nmcore.errors.VerificationError
        The result is not what it should be: a bug in nmcore.

    Examples
    --------
    >>> import nmcore
    >>> model = "examples/fashion_mnist/lenet5.onnx"
    >>> first = nmcore.compress(model, ratio=0.5, method="merge")
    >>> again = nmcore.compress(model, plan=first.plan)
    >>> again.graph.serialize() == first.graph.serialize()
    True
    """
    checks.checked({"progress": progress, "executor": executor})
    metrics = metrics_of(metric)
    options = CompressOptions.checked(
        ratio=ratio,
        macs=macs,
        params=params,
        latency=latency,
        max_drop=max_drop,
        round_to=round_to,
        method=method,
        criterion=criterion,
        threshold=threshold,
        lam=lam,
        bn_form=bn_form,
        keep=keep,
        exclude=exclude,
        only=only,
        vocabulary=vocabulary,
        states=states,
        samples=samples,
        scale=scale,
        mean=mean,
        std=std,
        preprocess=preprocess,
        labels=labels,
        input_shape=input_shape,
        then=then,
        verify=verify,
        providers=providers,
        threads=threads,
        seed=seed,
        tries=tries,
    )
    registry.runtime().check(options.providers)
    check_convertible(options)
    decided = None if plan is None else serialization.plan_of(plan)
    calls = [
        written_call(model, options, plan, data, metrics, name_of) for name_of in (str, file_name)
    ]
    if decided is not None:
        options = replay.settle(decided, options)
    job = Job(
        _opened(model, options),
        options,
        open_data(data, options.normalisation, options.labels),
        progress,
        executor,
        metrics,
        call=calls[0],
        portable_call=calls[1],
    )
    check_unconverted(job.original.graph, options)
    if options.states:
        job = replace(job, original=job.original.with_states())
    if job.data is None:
        job = replace(job, data=job.original.own_data())
    job.original.check_sizes(job.data, options.seed)
    if isinstance(options.vocabulary, Path):
        job = job.changed(vocabulary=read_ids(options.vocabulary))
    if options.vocabulary is not None:
        job, found = with_vocabulary(job)
        return converted(replace(_all(job, decided), vocabulary=found), job)
    return converted(_all(job, decided), job)


def _all(job: Job, decided: Plan | None) -> Result:
    """Compress as often as the options ask for."""
    options = job.options
    if options.tries > 1:
        check_tries(options, data=job.data is not None)
        return best_of_seeds(job, _once)
    if decided is None and options.max_drop is not None:
        return within_drop(job, _once)
    return _once(job, decided)


def _opened(model: Any, options: CompressOptions) -> Original:
    with step("opening the model"):
        return Original(model, options.providers, options.input_shape)


def _once(job: Job, decided: Plan | None = None) -> Result:
    """Compress to what the options, or a plan, say."""
    original, options = job.original, job.options
    graph = original.graph.clone()
    with blaming("the model", graph.fault):
        notes = [] if decided is None else [*replay.check_model(decided, original.source())]
        with step("deciding how much goes"):
            task, found = task_of(job, decided)
        task = replace(task, executor=job.executor, proves=options.verify)
        graph = replay.with_pairs(graph, task.planned)
        done = _compensated(job, graph, task, decided)
        graph, outcomes, after = done.graph, done.outcomes, done.graph.cost()
        with step("checking the result"):
            graph.check()
        if options.verify:
            scalings = {o.plan.name: o.scaling for o in outcomes if o.scaling is not None}
            with step("verifying"):
                prove(
                    graph,
                    scalings,
                    original=original.session,
                    providers=options.providers,
                    seed=options.seed,
                    stated=options.input_shape,
                    data=job.data,
                )
        return Result(
            graph=graph,
            plan=plan_of_result(graph, outcomes, job, done.shown),
            outcomes=outcomes,
            declined=graph.declined,
            before=original.cost,
            after=after,
            size=original.size,
            call=job.call,
            seed=options.seed,
            verified=options.verify,
            notes=[*notes, *found, *done.notes, *scope(job, task)],
            budget=spent(task.budget, options, original.cost, after, done.latency),
            cautions=(*dict.fromkeys((*original.told, *_told(graph))), *done.cautions),
            original=original,
            data=job.data,
            held=done.held,
            normalisation=options.normalisation,
            metrics=job.metrics,
            threads=options.threads,
        )


def _told(graph: protocols.Graph) -> Sequence[str]:
    """What the result does not have of the original, as far as the graph tells."""
    return graph.told() if isinstance(graph, protocols.Telling) else ()


def _compensated(job: Job, graph: protocols.Graph, task: Task, decided: Plan | None) -> _Done:
    """Remove the channels."""
    options, data, notes = job.options, job.data, []
    held_out = options.max_drop is not None
    chosen, reason = strategy(task.options, graph)
    if data is not None and chosen != RECONSTRUCTION:
        notes.append(f"method {chosen} measures nothing: data is what results are judged on")
    if decided is not None:
        replay.check_methods(decided, chosen)
        notes += replay.versions_note(decided)
        reason = f"channels kept as planned, method {chosen}"
    if not task.removes(capabilities.cuttable(graph)):
        outcomes = [untouched(group) for group in graph.groups]
        nothing = "nothing is to be removed"
        if options.vocabulary is not None:
            nothing = "no channel is to be removed"
        return _Done(graph, outcomes, [*notes, nothing])
    if decided is None:
        # How many inputs also says which part of the data a largest drop is judged on.
        notes += unused(task.options, chosen, None if held_out else options.samples)
    if chosen != RECONSTRUCTION:
        outcomes, spent = merge_all(graph, task)
        return _Done(graph, outcomes, [*spent.notes, *notes, reason], latency=spent.latency)
    samples = options.samples or REAL_SAMPLES
    shown = None
    if data is not None:
        shown = fingerprint.of_data(data, 2 * samples if held_out else wanted(samples))
    if decided is not None:
        notes += replay.check_data(decided, shown)
    done = _measured(job, graph, task, data, reason)
    return replace(done, notes=[*notes, *done.notes], shown=shown)


def _measured(
    job: Job, graph: protocols.Graph, task: Task, data: Opened | None, reason: str
) -> _Done:
    """Reconstruct from moments; where that was not asked for, merge if it is impossible or worse.

    A model that runs on no synthetic input cannot be measured, but its weights can still be merged.
    """
    assert isinstance(graph, protocols.Measurable)
    original, options = job.original, job.options
    by_choice = task.options.method == "auto"
    cautions: Sequence[str] = ()
    held = None
    try:
        with step("taking or making inputs"):
            if data is not None and options.max_drop is not None:
                data = parts(job)[0]
            inputs = Inputs(data, options.samples, options.normalisation)
            calibration = calibration_set_for(graph, original.session(), inputs, task.options.seed)
        found = reconstruct_all(graph, task, calibration, options.providers)
        graph, outcomes, spent = found.graph, found.outcomes, found.allotment
        cautions, measured = calibration.cautions, [f"measured on {calibration.source}"]
        held = calibration.held
        if not (calibration.real or task.planned):
            measured.append(SEED_HINT)
        notes = [*spent.notes, reason, *filter(None, [found.blocks]), *measured]
        if by_choice:
            mine = graph
            with step("comparing with the published method"):
                paired = replay.with_pairs(original.graph, task.planned)
                baseline = Baseline(
                    paired, original.session(), task, calibration, options.providers
                )
                graph, outcomes, note = baseline.better(graph, outcomes)
            notes = [*notes, note] if graph is mine else [*spent.notes, note, *measured]
    except (ModelError, DataError) as error:
        ill_prepared = isinstance(error, DataError) and options.normalisation is not None
        if not by_choice or data is not None or ill_prepared:
            raise
        graph = replay.with_pairs(original.graph.clone(), task.planned)
        outcomes, spent = merge_all(graph, task)
        notes = [*spent.notes, f"method merge instead, since nothing can be measured: {error}"]
    return _Done(graph, outcomes, notes, latency=spent.latency, cautions=cautions, held=held)
