"""From a model to a smaller one: groups, kept channels, compensation, proof.

This module decides the order of the steps and nothing else; each step lives in its own module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

from nmcore import digests, plan_files, plugins, replay
from nmcore.allocation import Budget
from nmcore.data import Dataset, normalisation
from nmcore.data import load as load_data
from nmcore.errors import DataError, ModelError
from nmcore.group import Cost, Declined
from nmcore.merging import merge_all
from nmcore.plan import (
    UNTOUCHED,
    Outcome,
    Plan,
    Progress,
    Selection,
    Source,
    Task,
    silent,
    untouched,
)
from nmcore.probes import REAL_SAMPLES, Inputs, probes_for
from nmcore.recipe import RECONSTRUCTION, Options, strategy
from nmcore.reconstruction import reconstruct_all
from nmcore.report import Measures, Report, installed_versions
from nmcore.rival import Rival
from nmcore.verification import verify as prove


@dataclass(frozen=True, eq=False)
class Result:
    """A compressed model and the account of how it came about.

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
    """

    graph: plugins.Graph = field(repr=False)
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

    @property
    def model(self) -> Any:
        """The compressed model, in the backend's own format."""
        return self.graph.result()

    @property
    def report(self) -> Report:
        """The account as data, without latencies: those are measured by the command line."""
        return Report.of(
            self,
            before=Measures.of(self.before, self.size, None),
            after=Measures.of(self.after, len(self.graph.serialize()), None),
            command=self.call,
            seed=self.seed,
            provider=None,
            threads=None,
            verified=self.verified,
        )

    def save(self, path: str | Path) -> None:
        """Write the compressed model; a crash leaves the old file at ``path`` or none."""
        self.graph.save(Path(path))


def compress(
    model: Any,
    *,
    ratio: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    round_to: int = 1,
    method: str = "auto",
    criterion: str = "auto",
    threshold: float | None = None,
    lam: float | None = None,
    bn_form: str = "auto",
    keep: Mapping[str, int] | None = None,
    exclude: Sequence[str] = (),
    only: Sequence[str] = (),
    plan: str | Path | Plan | Mapping[str, Any] | None = None,
    data: str | Path | Dataset | None = None,
    samples: int | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    verify: bool = False,
    providers: Sequence[str] = ("auto",),
    seed: int = 0,
    progress: Progress = silent,
) -> Result:
    """Remove channels from a model and fold what they did into the next layers.

    Parameters
    ----------
    model : path or object
        A model file, or an object that an installed backend understands. It is never changed.
    ratio : float, in [0, 1), optional
        The share of channels removed in every group. Without it and without a budget, half of
        them; or none where ``keep`` says which groups to touch.
    macs, params : float, above 0 and up to 1, optional
        A budget instead of a ratio: keep at most this share of the whole model's
        multiply-accumulates or parameters. Groups then lose different shares.
    round_to : int
        Groups that lose channels keep a multiple of this number (not those that ``keep`` names).
        Many runtimes are slow on odd widths; 8 or 16 suits most processors.
    method, criterion, threshold, lam, bn_form, seed
        See :class:`nmcore.recipe.Options`.
    keep : mapping of pattern to count, optional
        How many channels the groups keep whose names match; the last match counts.
    exclude, only : sequence of pattern
        Nodes whose channels must not, or alone may, be removed.
    plan : path, Plan or mapping, optional
        Which channels each group keeps, instead of all that chooses them: a file for
        :func:`nmcore.plan.load`, or ``{"groups": {name: channels}}`` with channels as a list or an
        int array of shape (P,). Groups that it does not name keep all. A plan that nmcore saved
        also states the options, the model and the data it was made with, and gives the same result
        to the bit; one from elsewhere is compensated as the options say.
    data : path or Dataset, optional
        Unlabelled inputs, an .npz with ``x`` or a folder of pictures; without them synthetic ones
        are made.
    samples : int, optional
        How many inputs to use or to make; 256 of ``data``, or up to 2048 made ones, fewer for
        large models.
    scale, mean, std
        Inputs are ``(x / scale - mean) / std``; see :func:`nmcore.data.load`.
    verify : bool
        Prove in the runtime that the result equals a full-width model: for methods with a Z, the
        original with its removed channels rebuilt through Z; for ``moments``, the original with
        the refitted weights, which proves the cutting and not the refitting.
    providers : sequence of {"auto", "cuda", "cpu"}
        Where models run.
    progress : callable
        Wraps the iteration over groups, as in ``progress("merging", groups)``.

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
    given = dict(locals())
    call, short_call = _call(given), _call(given, _file_name)
    decided = None if plan is None else plan_files.plan_of(plan)
    if decided is not None:
        given |= replay.settle(decided, _changed(given))
    # A plan's criterion is told and not used: its channels are chosen.
    options = Options(criterion=criterion, **{name: given[name] for name in _OPTIONS})
    graph = plugins.open_graph(model)
    before, size, source = graph.cost(), _size(model, graph), digests.of_model(model, graph)
    notes = [] if decided is None else [*replay.check_model(decided, source)]
    task = _task(graph, given, options, decided)
    graph, outcomes, shown, more = _compensated(graph, given, task, decided)
    graph.check()
    if verify:
        scalings = {o.plan.name: o.scaling for o in outcomes if o.scaling is not None}
        prove(graph, scalings, providers=providers, seed=options.seed)
    return Result(
        graph=graph,
        plan=_made(outcomes, given, source, shown, short_call),
        outcomes=outcomes,
        declined=graph.declined,
        before=before,
        after=graph.cost(),
        size=size,
        call=call,
        seed=options.seed,
        verified=verify,
        notes=[*notes, *more],
    )


# What a plan settles of :class:`Options`, and all that it states.
_OPTIONS = ("method", "threshold", "lam", "bn_form", "seed")
_STATED = ("criterion", *_OPTIONS, "samples", "scale", "mean", "std")


def _changed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call that differ from their defaults."""
    defaults = {name: p.default for name, p in signature(compress).parameters.items()}
    apart = ("model", "plan", "data", "progress")
    return {
        name: value
        for name, value in given.items()
        if name not in apart and value != defaults[name]
    }


def _call(given: Mapping[str, Any], name_of: Callable[[str | Path], str] = str) -> str:
    """The call as it was written, with the arguments that differ from their defaults."""
    words = [f"{name}={value!r}" for name, value in _changed(given).items()]
    words += [
        f"{name}={_named(given[name], name_of)}"
        for name in ("plan", "data")
        if given[name] is not None
    ]
    return f"nmcore.compress({', '.join([_named(given['model'], name_of), *words])})"


def _named(value: Any, name_of: Callable[[str | Path], str]) -> str:
    """A file's name, or of what kind an object is."""
    value = value.name if isinstance(value, Dataset) else value
    return repr(name_of(value)) if isinstance(value, (str, Path)) else type(value).__name__


def _file_name(path: str | Path) -> str:
    """The name without its folder, which is nobody else's business."""
    return Path(path).name


def _task(
    graph: plugins.Graph, given: Mapping[str, Any], options: Options, decided: Plan | None
) -> Task:
    """What is wanted of a model: as many channels as the options say, or those of a plan."""
    progress = given["progress"]
    if decided is not None:
        return replay.task_for(decided, graph, options, progress)
    ratio, keep, multiple = given["ratio"], given["keep"], given["round_to"]
    budget = Budget.of(given["macs"], given["params"], ratio)
    if ratio is None:
        ratio = 0.0 if keep or budget else 0.5
    selection = Selection(ratio, keep, given["only"], given["exclude"], multiple)
    counts = selection.counts(graph.groups, graph.declined)
    return Task(counts, selection.free(graph.groups), budget, options, progress, multiple)


def _compensated(
    graph: plugins.Graph, given: Mapping[str, Any], task: Task, decided: Plan | None
) -> tuple[plugins.Graph, list[Outcome], Source | None, list[str]]:
    """Remove the channels; the third is the data that was measured on, the last are notes."""
    data, notes = given["data"], []
    if data is not None and decided is not None and replay.needs_no_data(decided):
        data = None
        notes.append(f"data was not read: method {task.options.method} of the plan uses none")
    chosen, reason = strategy(task.options, graph, data is not None)
    if decided is not None:
        replay.check_methods(decided, chosen)
        notes += replay.versions_note(decided)
        reason = f"channels kept as planned, method {chosen}"
    if not task.removes(graph.groups):
        outcomes = [untouched(group) for group in graph.groups]
        return graph, outcomes, None, [*notes, "nothing is to be removed"]
    if chosen != RECONSTRUCTION:
        return graph, merge_all(graph, task), None, [*notes, reason]
    steps = given["scale"], given["mean"], given["std"]
    inputs = Inputs(_dataset(data, *steps), given["samples"], normalisation(*steps))
    shown = None if data is None else digests.of_data(data, given["samples"] or REAL_SAMPLES)
    if decided is not None:
        notes += replay.check_data(decided, shown)
    model, providers = given["model"], given["providers"]
    graph, outcomes, more = _measured(model, graph, task, inputs, providers, reason)
    return graph, outcomes, shown, [*notes, *more]


def _made(
    outcomes: Sequence[Outcome],
    given: Mapping[str, Any],
    model: Source,
    data: Source | None,
    call: str,
) -> Plan:
    """The plan that gives the same result again.

    What chose the channels has done so: ``auto`` has become a method, and data that nothing but
    the choice rests on is not needed again.
    """
    methods = {outcome.plan.method for outcome in outcomes} - {UNTOUCHED}
    measured = RECONSTRUCTION in methods
    options = {name: replay.plain(given[name]) for name in _STATED}
    if measured or given["method"] in ("auto", RECONSTRUCTION):
        options["method"] = RECONSTRUCTION if measured else "merge"
    return Plan(
        groups=tuple(outcome.plan for outcome in outcomes),
        options=options if methods else {},
        model=model,
        data=data if measured else None,
        call=call,
        versions=installed_versions(),
    )


def _size(model: Any, graph: plugins.Graph) -> int:
    """The bytes of a model, as a file where it is one."""
    is_file = isinstance(model, (str, Path))
    return Path(model).stat().st_size if is_file else len(graph.serialize())


def _measured(
    model: Any,
    graph: plugins.Graph,
    task: Task,
    inputs: Inputs,
    providers: Sequence[str],
    reason: str,
) -> tuple[plugins.Graph, list[Outcome], list[str]]:
    """Reconstruct from moments; where that was not asked for, merge if it is impossible or worse.

    A model that runs on no made input cannot be measured, but its weights can still be merged.
    """
    assert isinstance(graph, plugins.Measurable)
    by_choice = task.options.method == "auto"
    try:
        probes = probes_for(graph, inputs, providers, task.options.seed)
        outcomes = reconstruct_all(graph, task, probes, providers)
        notes = [reason, f"measured on {probes.source}"]
        if by_choice:
            mine = graph
            graph, outcomes, note = Rival(model, task, probes, providers).better(graph, outcomes)
            notes = [*notes, note] if graph is mine else [note, notes[1]]
    except (ModelError, DataError) as error:
        if not by_choice or inputs.data is not None:
            raise
        graph = plugins.open_graph(model)
        outcomes = merge_all(graph, task)
        notes = [f"merged instead, since nothing can be measured: {error}"]
    return graph, outcomes, notes


def _dataset(
    data: str | Path | Dataset | None,
    scale: float | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> Dataset | Path | None:
    """A data file as it is read; a folder can only be read once the model's input is known."""
    if data is None or isinstance(data, Dataset):
        return data
    if Path(data).is_dir():
        return Path(data)
    return load_data(data, scale=scale, mean=mean, std=std)
