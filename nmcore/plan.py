"""The decision as data: which channels each group keeps, by which method, and why."""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nmcore.allocation import Budget
from nmcore.elimination import Curve
from nmcore.errors import ArgumentError
from nmcore.group import Declined, Group, IntArray, Scaling
from nmcore.recipe import RECONSTRUCTION, Options

if TYPE_CHECKING:
    from nmcore.stopwatch import Timer
    from nmcore.summaries import ScalingSummary

# The method of a group that keeps all channels.
UNTOUCHED = "none"


def kept_count(width: int, ratio: float) -> int:
    """How many of ``width`` channels stay when the share ``ratio`` is removed, at least one.

    >>> kept_count(300, 0.8), kept_count(16, 0.5), kept_count(3, 0.99)
    (60, 8, 1)
    """
    return max(1, math.floor(width * (1 - ratio) + 0.5))


@dataclass(frozen=True)
class Selection:
    """Which groups are touched and how many channels each keeps, as the user said it.

    Parameters
    ----------
    ratio : float, in [0, 1)
        The share of channels removed in every group that ``keep`` does not name.
    keep : mapping of pattern to count
        Shell-style patterns over group names; the last one that matches a group counts.
    only, exclude : sequence of pattern
        Shell-style patterns over the names of the nodes whose channels may, or must not, go.
    multiple : int
        Groups that lose a share keep a multiple of this number of channels, rounded up, never
        widened; attention heads count with all that they hold.
    """

    ratio: float = 0.0
    keep: Mapping[str, int] | None = None
    only: Sequence[str] = ()
    exclude: Sequence[str] = ()
    multiple: int = 1

    def counts(self, groups: Sequence[Group], declined: Sequence[Declined]) -> dict[str, int]:
        """The number of kept channels per group name; groups left alone keep their width.

        Raises
        ------
        ArgumentError
            A pattern matches nothing, or a count does not fit.
        """
        self._check_patterns(groups, declined)
        if groups and not any(map(self._allowed, groups)):
            raise ArgumentError(
                f"only and exclude leave none of the {len(groups)} groups to remove channels from"
            )
        return {group.name: self._count(group) for group in groups}

    def free(self, groups: Sequence[Group]) -> frozenset[str]:
        """The names of the groups that a budget may cut: neither excluded nor kept at a count."""
        return frozenset(
            group.name
            for group in groups
            if self._allowed(group) and not _any_match([group.name], [*(self.keep or {})])
        )

    def matches(self, groups: Sequence[Group]) -> Iterator[str]:
        """Say how many groups the patterns match."""
        for option, patterns in (("only", self.only), ("exclude", self.exclude)):
            if patterns:
                count = sum(_any_match(group.producers, patterns) for group in groups)
                alone = "" if count else ": what it names is left alone in any case"
                yield f"{option} matches {count} of {_counted(len(groups), 'group')}{alone}"

    def _allowed(self, group: Group) -> bool:
        if self.only and not _any_match(group.producers, self.only):
            return False
        return not _any_match(group.producers, self.exclude)

    def _count(self, group: Group) -> int:
        if not self._allowed(group):
            return group.width
        count = kept_count(group.width, self.ratio)
        multiple = group.multiple(self.multiple)
        count = min(group.width, -(-count // multiple) * multiple)
        for pattern, keep in (self.keep or {}).items():
            if fnmatch.fnmatchcase(group.name, pattern):
                count = keep
        if not 1 <= count <= group.width:
            raise ArgumentError(
                f"keep is {count} for group {group.name}; it must be from 1 to {group.width}"
            )
        return count

    def _check_patterns(self, groups: Sequence[Group], declined: Sequence[Declined]) -> None:
        named = {group.name: [group.name] for group in groups}
        made = {group.name: group.producers for group in groups}
        for pattern in self.keep or {}:
            found = _require_match("keep", pattern, named, declined)
            if not any(self._allowed(group) for group in groups if group.name in found):
                raise ArgumentError(
                    f"keep {pattern!r} matches {_counted(len(found), 'group')}, "
                    "but only and exclude leave alone whatever it matches"
                )
        for pattern in self.only:
            _require_match("only", pattern, made, declined)
        left = [place for place in declined if _any_match([place.node], self.exclude)]
        for pattern in self.exclude:
            if not _any_match([place.node for place in left], [pattern]):
                _require_match("exclude", pattern, made, ())


def _any_match(names: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _require_match(
    option: str,
    pattern: str,
    groups: Mapping[str, Sequence[str]],
    declined: Sequence[Declined],
) -> list[str]:
    """The groups that a pattern matches, by what each is known by; an error without any."""
    found = [group for group, names in groups.items() if _any_match(names, [pattern])]
    if found:
        return found
    for place in declined:
        if fnmatch.fnmatchcase(place.node, pattern):
            raise ArgumentError(
                f"{option} {pattern!r} names {place.node}, which is left alone: {place.reason}"
            )
    there = f"the {len(groups)} there are" if len(groups) > 1 else "what there is"
    known = {name.lower(): name for names in groups.values() for name in names}
    like = difflib.get_close_matches(pattern.lower(), known, n=1)
    hint = f"; did you mean {known[like[0]]!r}?" if like else ""
    raise ArgumentError(
        f"{option} {pattern!r} matches no group; `nmcore inspect` lists {there}{hint}"
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class GroupPlan:
    """What happens to one group.

    Attributes
    ----------
    name : str
        The group's name.
    width : int
        Channels before; 0 in a plan from elsewhere that does not say.
    kept : tuple of int
        The kept channels, ascending.
    method : str
        How the removed ones are compensated (``"none"`` where nothing is removed, empty in a plan
        from elsewhere that does not say).
    reason : str
        Why this number and this method.
    """

    name: str
    width: int
    kept: tuple[int, ...]
    method: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Source:
    """What a plan rests on, so that another file is recognised.

    Attributes
    ----------
    file : str or None
        The file's name without its folder; None for an object in memory.
    sha256 : str
        The digest of its content, in hexadecimal digits.
    """

    file: str | None
    sha256: str


@dataclass(frozen=True)
class Plan:
    """The decision for the groups of a model; groups that it does not name keep all channels.

    Attributes
    ----------
    groups : tuple of GroupPlan
        In topological order where nmcore made the plan.
    options : mapping of str to number, str, list or None
        The options that the result depends on, by their names in :func:`nmcore.compress`. Empty in
        a plan from elsewhere, which says which channels are kept and nothing else.
    model : Source or None
        The model that the plan was made for; None fits any model with these groups.
    data : Source or None
        The calibration data that the result depends on.
    call : str
        How the plan was made.
    versions : mapping of package to version
        What it was made with.

    Examples
    --------
    >>> import tempfile
    >>> from nmcore.plan import GroupPlan, Plan, load
    >>> plan = Plan((GroupPlan("conv1", 4, (0, 2), "merge", "asked for"),))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plan.save(f"{folder}/plan.json")
    ...     load(f"{folder}/plan.json") == plan
    True
    """

    groups: tuple[GroupPlan, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    model: Source | None = None
    data: Source | None = None
    call: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write the plan as JSON, a group a line; a crash leaves the old file or none.

        Raises
        ------
        nmcore.errors.ArgumentError
            The file cannot be written.
        """
        from nmcore import plan_files

        plan_files.write(self, Path(path))


def load(path: str | Path) -> Plan:
    """Read a plan that nmcore saved, or one that says which channels are kept and nothing else.

    The shortest form is ``{"groups": {"conv1": [0, 2, 5]}}``; ``nmcore/plan.schema.json`` describes
    all of it. Kept channels may stand in any order.

    Parameters
    ----------
    path : path
        A JSON file.

    Returns
    -------
    Plan
        Not yet compared with any model.

    Raises
    ------
    nmcore.errors.ArgumentError
        The file cannot be read, is no JSON, or holds something else than a plan.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "plan.json")
    ...     _ = path.write_text('{"groups": {"conv1": [5, 0, 2]}}')
    ...     load(path).groups[0].kept
    (0, 2, 5)
    """
    from nmcore import plan_files

    return plan_files.read(Path(path))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What was done to one group.

    Attributes
    ----------
    plan : GroupPlan
        What was decided.
    merged : int
        How many removed channels are made up for by kept ones.
    scaling : Scaling or None
        The Z that was absorbed, where there is one; not where it is dense and of megabytes, unless
        something is to be proven with it.
    summary : ScalingSummary or None
        What a report shows of such a one.
    curve : Curve or None
        The error as channels went, where it was measured.
    """

    plan: GroupPlan
    merged: int
    scaling: Scaling | None = None
    curve: Curve | None = None
    summary: ScalingSummary | None = None

    @property
    def left_out(self) -> int:
        """How many removed channels nothing makes up for."""
        return self.plan.width - len(self.plan.kept) - self.merged


def untouched(group: Group) -> Outcome:
    """The outcome of a group that keeps everything."""
    kept = tuple(range(group.width))
    return Outcome(GroupPlan(group.name, group.width, kept, UNTOUCHED, "all channels kept"), 0)


Progress = Callable[[str, Iterable[Any]], Iterable[Any]]


def silent(_text: str, groups: Iterable[Any]) -> Iterable[Any]:
    """Show no progress."""
    return groups


@dataclass(frozen=True, eq=False)
class Task:
    """What is wanted of a model.

    Attributes
    ----------
    counts : mapping of group name to int
        Channels to keep, where no budget decides.
    free : frozenset of str
        The groups that a budget may cut.
    budget : Budget or None
        What may be left of the whole model.
    options : Options
        How channels are chosen and made up for.
    progress : callable
        Wraps the iteration over groups.
    multiples : tuple of int
        Groups that a budget cuts keep a multiple of one of these numbers of channels: of the one
        that suits the runtime, as a timer tells, else of the first with which it can be met.
    timer : Timer or None
        Tells how long the model takes at other widths, where that matters.
    planned : mapping of group name to GroupPlan
        Which channels groups keep, where a plan says so; ``counts`` says how many.
    executor : concurrent.futures.Executor or None
        Solves groups that do not depend on one another; None solves one after the other here.
    proves : bool
        Whether the result is to be proven, for which every Z is held until the end.
    """

    counts: Mapping[str, int]
    free: frozenset[str]
    budget: Budget | None
    options: Options
    progress: Progress = silent
    multiples: tuple[int, ...] = (1,)
    timer: Timer | None = None
    planned: Mapping[str, GroupPlan] = field(default_factory=dict)
    executor: Executor | None = None
    proves: bool = False

    def kept(self, group: Group) -> IntArray | None:
        """The channels that a plan keeps of a group; None where they are to be chosen."""
        plan = self.planned.get(group.name)
        return None if plan is None else np.array(plan.kept, np.intp)

    def options_for(self, group: Group) -> Options:
        """The options, with the method that a plan states for a group."""
        plan = self.planned.get(group.name)
        if plan is None or plan.method in ("", UNTOUCHED):
            return self.options
        return replace(self.options, method=plan.method)

    def refits(self, group: Group) -> bool:
        """Whether what reads a group may be refitted, as far as a plan says."""
        return self.options_for(group).method in ("auto", RECONSTRUCTION)

    def removes(self, groups: Sequence[Group]) -> bool:
        """Whether any channel of any group may go."""
        return any(
            self.budget is not None or self.counts[group.name] < group.width for group in groups
        )
