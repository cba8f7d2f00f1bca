"""The decision as data: which channels each group keeps, by which method, and why."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nmcore.errors import ArgumentError
from nmcore.group import Declined, Group


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
    """

    ratio: float = 0.0
    keep: Mapping[str, int] | None = None
    only: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def counts(self, groups: Sequence[Group], declined: Sequence[Declined]) -> dict[str, int]:
        """The number of kept channels per group name; groups left alone keep their width.

        Raises
        ------
        ArgumentError
            The ratio is outside [0, 1), a pattern matches nothing, or a count does not fit.
        """
        if not 0 <= self.ratio < 1:
            raise ArgumentError(f"ratio is {self.ratio}; it must be at least 0 and below 1")
        self._check_patterns(groups, declined)
        return {group.name: self._count(group) for group in groups}

    def _count(self, group: Group) -> int:
        if self.only and not _any_match(group.producers, self.only):
            return group.width
        if _any_match(group.producers, self.exclude):
            return group.width
        count = kept_count(group.width, self.ratio)
        for pattern, keep in (self.keep or {}).items():
            if fnmatch.fnmatchcase(group.name, pattern):
                count = keep
        if not 1 <= count <= group.width:
            raise ArgumentError(
                f"keep is {count} for group {group.name}; it must be from 1 to {group.width}"
            )
        return count

    def _check_patterns(self, groups: Sequence[Group], declined: Sequence[Declined]) -> None:
        names = [group.name for group in groups]
        nodes = [node for group in groups for node in group.producers]
        for pattern in self.keep or {}:
            _require_match("keep", pattern, names, declined)
        for pattern in self.only:
            _require_match("only", pattern, nodes, declined)
        for pattern in self.exclude:
            _require_match("exclude", pattern, [*nodes, *(d.node for d in declined)], ())


def _any_match(names: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _require_match(
    option: str, pattern: str, names: Sequence[str], declined: Sequence[Declined]
) -> None:
    if _any_match(names, [pattern]):
        return
    for place in declined:
        if fnmatch.fnmatchcase(place.node, pattern):
            raise ArgumentError(
                f"{option} {pattern!r} names {place.node}, which is left alone: {place.reason}"
            )
    raise ArgumentError(
        f"{option} {pattern!r} matches no group; `nmcore inspect` lists the {len(names)} there are"
    )


@dataclass(frozen=True)
class GroupPlan:
    """What happens to one group.

    Attributes
    ----------
    name : str
        The group's name.
    width : int
        Channels before.
    kept : tuple of int
        The kept channels, ascending.
    method : str
        How the removed ones are compensated (``"none"`` where nothing is removed).
    reason : str
        Why this number and this method.
    """

    name: str
    width: int
    kept: tuple[int, ...]
    method: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """The decision for every group of a model, in topological order."""

    groups: tuple[GroupPlan, ...]
