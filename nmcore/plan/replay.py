"""What a given plan means for a model: which options it settles, and whether it fits.

A plan that nmcore saved states its options, its model and its data, and is replayed to the bit. One
from elsewhere states which channels are kept, and everything else is as it would be without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from nmcore.errors import ArgumentError
from nmcore.group import Declined, Group
from nmcore.options import checks
from nmcore.options.amounts import AMOUNTS
from nmcore.options.methods import RECONSTRUCTION
from nmcore.options.options import CompressOptions, MethodOptions
from nmcore.plan.plan import GroupPlan, Plan, Source
from nmcore.plan.task import Task
from nmcore.plugins import capabilities
from nmcore.plugins.protocols import Graph
from nmcore.utils.progress import Progress
from nmcore.utils.versions import installed_versions

# What says which channels are kept, as a plan does.
_DECIDING = (
    *AMOUNTS,
    "round_to",
    "keep",
    "only",
    "exclude",
    "criterion",
    "tries",
)
_ONLY_GROUPS = 'or keep nothing but "groups" in the plan'


# What a plan states of the options.
STATED = (
    *("method", "criterion", "threshold", "lam", "bn_form", "seed"),
    *("samples", "scale", "mean", "std", "preprocess", "input_shape", "vocabulary", "states"),
)


def settle(plan: Plan, options: CompressOptions) -> CompressOptions:
    """The options with those that a plan states.

    Raises
    ------
    ArgumentError
        An option decides what the plan decides, or differs from what the plan states.

    Examples
    --------
    >>> plan = Plan((), options={"method": "merge", "seed": 3})
    >>> settle(plan, CompressOptions(method="merge")).seed
    3
    """
    given = options.changed
    settled = (*_DECIDING, "vocabulary") if plan.options.get("vocabulary") else _DECIDING
    deciding = [name.replace("_", "-") for name in settled if name in given]
    if deciding:
        raise ArgumentError(
            f"{' and '.join(deciding)} cannot be given with a plan, which says which channels "
            "each group keeps; leave out either of them"
        )
    for name, value in given.items():
        stated = plan.options.get(name, value)
        if checks.plain(value) != checks.plain(stated):
            made = "without it" if stated is None else f"with {stated}"
            raise ArgumentError(
                f"{name.replace('_', '-')} is {checks.plain(value)}; the plan was made {made}: "
                f"leave it out, {_ONLY_GROUPS}"
            )
    return replace(options, **checks.checked(plan.options))


def check_model(plan: Plan, source: Source) -> Iterator[str]:
    """Raise where a plan was made for another model; yield what could not be compared.

    Raises
    ------
    ArgumentError
        The digests differ.
    """
    made = plan.model
    if made is None:
        return
    if (made.file is None) != (source.file is None):
        yield (
            f"the plan was made for {_called(made)} and is used for {_called(source)}: "
            "the groups alone were compared"
        )
    elif made.sha256 != source.sha256:
        raise ArgumentError(
            f"the plan was made for {_named(made)}, not for {_named(source)}: "
            f"give that model, {_ONLY_GROUPS}"
        )


def check_data(plan: Plan, source: Source | None) -> Iterator[str]:
    """Raise where a plan was made on other calibration data; yield what could not be compared.

    Raises
    ------
    ArgumentError
        The digests differ, or there was data and is none, or the other way round.
    """
    made = plan.data
    if not plan.options or made == source:
        return
    if made is None:
        raise ArgumentError(f"the plan was made without data: leave out data, {_ONLY_GROUPS}")
    if source is None:
        raise ArgumentError(
            f"the plan was made with data, {_named(made)}: give it again, {_ONLY_GROUPS}"
        )
    if (made.file is None) != (source.file is None):
        yield (
            f"the plan was made with {_called(made)} and is used with {_called(source)}: "
            "the data was not compared"
        )
    elif made.sha256 != source.sha256:
        raise ArgumentError(
            f"the plan was made with data {_named(made)}, not {_named(source)}: "
            f"give that file, {_ONLY_GROUPS}"
        )


def _named(source: Source) -> str:
    return f"{_called(source)} (sha256 {source.sha256[:12]}...)"


def _called(source: Source) -> str:
    return source.file or "an object in memory"


def versions_note(plan: Plan) -> Iterator[str]:
    """Yield one line where packages have other versions than when the plan was made."""
    here = installed_versions()
    others = [
        f"{name} {version} (here {here.get(name, 'none')})"
        for name, version in plan.versions.items()
        if here.get(name) != version
    ]
    if others:
        yield f"the last digits may differ: the plan was made with {', '.join(others)}"


def task_for(plan: Plan, graph: Graph, options: MethodOptions, progress: Progress) -> Task:
    """Keep in every group of a graph the channels that a plan names, and all in the others.

    Raises
    ------
    ArgumentError
        The plan names a group that the model has not, or twice, or channels that the group has not.
    """
    widths = {group.name: group.width for group in graph.groups}
    inside = {pair.name: pair.width for pair in capabilities.score_pairs(graph)}
    planned: dict[str, GroupPlan] = {}
    for group in plan.groups:
        name = group.name if group.name in inside else _group_called(group.name, graph)
        if name in planned:
            raise ArgumentError(
                f"the plan names {planned[name].name} and {group.name}, which are of one group, "
                f"{name}: its channels stay or go in both, so name either"
            )
        _check_channels(group, (widths | inside)[name])
        if name in inside:
            _check_heads(group, options)
        planned[name] = group
    planned = {name: replace(group, name=name) for name, group in planned.items()}
    counts = widths | {name: len(group.kept) for name, group in planned.items()}
    return Task(counts, frozenset(), None, options, progress, planned=planned)


def _group_called(name: str, graph: Graph) -> str:
    """The group of this name, or that of what is called so."""
    if any(group.name == name for group in graph.groups):
        return name
    holding = [group for group in graph.groups if name in group.members]
    if not holding:
        raise ArgumentError(_unknown(name, graph.groups, graph.declined))
    if len(holding) > 1 or not holding[0].members[name]:
        names = " and ".join(group.name for group in holding)
        raise ArgumentError(
            f"the plan names {name}, whose channels are not those of one group, one by one: "
            f"name {names}, as `nmcore inspect` does"
        )
    return holding[0].name


def _unknown(name: str, groups: Sequence[Group], declined: Sequence[Declined]) -> str:
    for place in declined:
        if name in (place.node, *place.names):
            return f"the plan names {name}, which is left alone: {place.reason}"
    return (
        f"the plan names group {name}, which the model has not; "
        f"`nmcore inspect` lists the {len(groups)} there are"
    )


def with_pairs(graph: Graph, planned: Mapping[str, GroupPlan]) -> Graph:
    """The graph with the pairs of units that groups of a plan state, if any does.

    Raises
    ------
    ArgumentError
        A group has no such pairs, or not these units.
    """
    stated = {name: group.backward for name, group in planned.items() if group.backward}
    if not stated:
        return graph
    free = graph.tap_directions() if isinstance(graph, capabilities.Bidirectional) else {}
    widths = {group.name: group.width for group in graph.groups}
    for name, units in stated.items():
        if name not in free:
            raise ArgumentError(
                f"the plan states backward units of group {name}, which cannot be paired in "
                "another way: leave them out"
            )
        if sorted(units) != list(range(widths[name])):
            raise ArgumentError(
                f"the plan states {len(units)} backward units of group {name}; each of 0 to "
                f"{widths[name] - 1} is needed once"
            )
    assert isinstance(graph, capabilities.Bidirectional)
    return graph.paired(stated)


def _check_channels(group: GroupPlan, width: int) -> None:
    if group.width and group.width != width:
        raise ArgumentError(
            f"the plan says that group {group.name} has {group.width} channels; it has {width}"
        )
    if group.kept[-1] >= width:
        raise ArgumentError(
            f"the plan keeps channel {group.kept[-1]} of group {group.name}, "
            f"whose channels are 0 to {width - 1}"
        )


def _check_heads(group: GroupPlan, options: MethodOptions) -> None:
    """Channels inside heads are those of a basis, by falling share of the scores."""
    if group.kept != tuple(range(len(group.kept))):
        raise ArgumentError(
            f"the plan keeps channels {group.kept[0]} to {group.kept[-1]} inside the heads of "
            f"{group.name}, and not all between; of these the first ones are kept: 0, 1, 2, ..."
        )
    if options.method not in ("auto", RECONSTRUCTION):
        raise ArgumentError(
            f"the plan removes channels inside the heads of {group.name}, which takes method "
            f"{RECONSTRUCTION}; the method is {options.method}"
        )


def check_methods(plan: Plan, method: str) -> None:
    """Raise where a group states a method that nothing would be measured for.

    Raises
    ------
    ArgumentError
        A group is to be refitted, but the whole model is not.
    """
    for group in plan.groups:
        if group.method == RECONSTRUCTION and method != RECONSTRUCTION:
            raise ArgumentError(
                f"the plan refits group {group.name} by method {RECONSTRUCTION}; the method of "
                f"the whole is {method}, which measures nothing: change either of them"
            )
