"""Which groups are touched and how many channels each keeps, as the user said it."""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nmcore.errors import ArgumentError
from nmcore.group import Declined, Group, ScorePair


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
        Shell-style patterns over group names, or, where none matches, over all that groups hold;
        the last one that matches a group counts.
    only, exclude : sequence of pattern
        Shell-style patterns over all that groups hold whose channels may, or must not, go: see
        :attr:`nmcore.group.Group.members`.
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
        """The number of kept channels per group name; groups left alone keep their width, and so do
        score pairs.

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
        kept = self._kept(groups)
        return {
            group.name: group.width
            if isinstance(group, ScorePair)
            else self._count(group, kept.get(group.name))
            for group in groups
        }

    def free(self, groups: Sequence[Group]) -> frozenset[str]:
        """The names of the groups that a budget may cut: neither excluded nor kept at a count."""
        kept = self._kept(groups)
        return frozenset(
            group.name for group in groups if self._allowed(group) and group.name not in kept
        )

    def matches(self, groups: Sequence[Group]) -> Iterator[str]:
        """Say how many groups the patterns match."""
        for option, patterns in (("only", self.only), ("exclude", self.exclude)):
            if patterns:
                count = sum(_any_match(group.names, patterns) for group in groups)
                alone = "" if count else ": what it names is left alone in any case"
                yield f"{option} matches {count} of {_counted(len(groups), 'group')}{alone}"
        for pattern in self.keep or {}:
            for group in _kept_by(pattern, groups):
                if not fnmatch.fnmatchcase(group, pattern):
                    yield f"keep {pattern!r} is of {group}, whose channels it names by another name"

    def _allowed(self, group: Group) -> bool:
        if self.only and not _any_match(group.names, self.only):
            return False
        return not _any_match(group.names, self.exclude)

    def _kept(self, groups: Sequence[Group]) -> dict[str, int]:
        """What ``keep`` says of each group that it names."""
        return {
            name: count
            for pattern, count in (self.keep or {}).items()
            for name in _kept_by(pattern, groups)
        }

    def _count(self, group: Group, keep: int | None) -> int:
        if not self._allowed(group):
            return group.width
        count = kept_count(group.width, self.ratio)
        multiple = group.multiple(self.multiple)
        count = min(group.width, -(-count // multiple) * multiple)
        if keep is not None:
            count = keep
        if not 1 <= count <= group.width:
            raise ArgumentError(
                f"keep is {count} for group {group.name}; it must be from 1 to {group.width}"
            )
        return count

    def _check_patterns(self, groups: Sequence[Group], declined: Sequence[Declined]) -> None:
        named = {group.name: group.names for group in groups}
        kept = {group.name: group.names for group in groups if not isinstance(group, ScorePair)}
        for pattern in self.keep or {}:
            _require_match("keep", pattern, kept, declined)
            found = _kept_by(pattern, groups)
            if not any(self._allowed(group) for group in groups if group.name in found):
                raise ArgumentError(
                    f"keep {pattern!r} matches {_counted(len(found), 'group')}, "
                    "but only and exclude leave alone whatever it matches"
                )
        for pattern in self.only:
            _require_match("only", pattern, named, declined)
        left = [name for place in declined for name in (place.node, *place.names)]
        for pattern in self.exclude:
            if not _any_match(left, [pattern]):
                _require_match("exclude", pattern, named, ())


def _kept_by(pattern: str, groups: Sequence[Group]) -> list[str]:
    """The groups that a pattern names, by their own names if it names any so.

    A layer whose rows make several groups has the name of the first of them.
    """
    groups = [group for group in groups if not isinstance(group, ScorePair)]
    found = [group.name for group in groups if fnmatch.fnmatchcase(group.name, pattern)]
    return found or [group.name for group in groups if _any_match(group.names, [pattern])]


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
        if _any_match([place.node, *place.names], [pattern]):
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
