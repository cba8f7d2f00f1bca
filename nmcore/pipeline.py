"""From a model to a smaller one: groups, kept channels, compensation, proof.

This module decides the order of the steps and nothing else; each step lives in its own module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

from nmcore import plugins
from nmcore.allocation import Budget
from nmcore.data import Dataset, normalisation
from nmcore.data import load as load_data
from nmcore.errors import DataError, ModelError
from nmcore.group import Cost, Declined
from nmcore.merging import merge_all
from nmcore.plan import Outcome, Plan, Progress, Selection, Task, silent, untouched
from nmcore.probes import Inputs, probes_for
from nmcore.recipe import RECONSTRUCTION, Options, strategy
from nmcore.reconstruction import reconstruct_all
from nmcore.report import Measures, Report
from nmcore.rival import Rival
from nmcore.verification import verify as prove


@dataclass(frozen=True, eq=False)
class Result:
    """A compressed model and the account of how it came about.

    Attributes
    ----------
    plan : Plan
        The decision for every group.
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
    def plan(self) -> Plan:
        """The decision for every group."""
        return Plan(tuple(outcome.plan for outcome in self.outcomes))

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
    data : path or Dataset, optional
        Unlabelled inputs, an .npz with ``x`` or a folder of pictures; without them synthetic ones
        are made.
    samples : int, optional
        How many inputs to use or to make; 256 of ``data``, or 512 made ones.
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
        The model, the data or an option cannot be used.
    nmcore.errors.VerificationError
        The result is not what it should be: a bug in nmcore.
    """
    call = _call(locals())
    options = Options(method, criterion, threshold, lam, bn_form, seed)
    budget = Budget.of(macs, params, ratio)
    if ratio is None:
        ratio = 0.0 if keep or budget else 0.5
    selection = Selection(ratio, keep, only, exclude, round_to)
    graph = plugins.open_graph(model)
    before, size = graph.cost(), _size(model, graph)
    counts = selection.counts(graph.groups, graph.declined)
    task = Task(counts, selection.free(graph.groups), budget, options, progress, round_to)
    chosen, reason = strategy(options, graph, data is not None)
    notes: list[str] = []
    if not task.removes(graph.groups):
        outcomes = [untouched(group) for group in graph.groups]
        notes.append("nothing is to be removed")
    elif chosen == RECONSTRUCTION:
        inputs = Inputs(_dataset(data, scale, mean, std), samples, normalisation(scale, mean, std))
        graph, outcomes, notes = _measured(model, graph, task, inputs, providers, reason)
    else:
        outcomes, notes = merge_all(graph, task), [reason]
    graph.check()
    if verify:
        scalings = {o.plan.name: o.scaling for o in outcomes if o.scaling is not None}
        prove(graph, scalings, providers=providers, seed=seed)
    return Result(
        graph=graph,
        outcomes=outcomes,
        declined=graph.declined,
        before=before,
        after=graph.cost(),
        size=size,
        call=call,
        seed=seed,
        verified=verify,
        notes=notes,
    )


def _call(given: Mapping[str, Any]) -> str:
    """The call as it was written, with the arguments that differ from their defaults."""
    defaults = {name: p.default for name, p in signature(compress).parameters.items()}
    words = [
        f"{name}={value!r}"
        for name, value in given.items()
        if name not in ("model", "data", "progress") and value != defaults[name]
    ]
    if given["data"] is not None:
        words.append(f"data={str(getattr(given['data'], 'name', given['data']))!r}")
    model = given["model"]
    named = repr(str(model)) if isinstance(model, (str, Path)) else type(model).__name__
    return f"nmcore.compress({', '.join([named, *words])})"


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
