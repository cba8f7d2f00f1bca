"""What a compression did, as data: the costs before and after, and the account per group."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmcore.errors import ArgumentError
from nmcore.files import atomic_write
from nmcore.group import Cost, Declined

if TYPE_CHECKING:
    from nmcore.latency import Latency
    from nmcore.pipeline import Result

REPORTED_PACKAGES = (
    "nmcore",
    "numpy",
    "numba",
    "onnx",
    "onnx-ir",
    "onnxruntime-gpu",
    "onnxruntime",
)


@dataclass(frozen=True)
class Measures:
    """What one model weighs and how long it takes.

    Attributes
    ----------
    nodes, params : int
        Operators, and numbers in the weights.
    macs : int or None
        Multiply-accumulates of one sample; None where a needed size is unknown.
    bytes : int
        The size of the file.
    latency_ms, latency_low_ms, latency_high_ms : float or None
        Median, 10th and 90th percentile of warm runs; None where the model runs on no random
        input.
    """

    nodes: int
    params: int
    macs: int | None
    bytes: int
    latency_ms: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None

    @classmethod
    def of(cls, cost: Cost, size: int, latency: Latency | None) -> Measures:
        """Join what the graph, the file system and the clock say."""
        times = (latency.median_ms, latency.low_ms, latency.high_ms) if latency else ()
        return cls(cost.nodes, cost.params, cost.macs, size, *times)


@dataclass(frozen=True)
class GroupReport:
    """What was done to one group; the numbers count channels.

    Attributes
    ----------
    name : str
        The group's name.
    width, kept : int
        Channels before and after.
    merged, left_out : int
        Removed channels that are rebuilt from kept ones, and those that are not.
    method, reason : str
        How, and why so.
    """

    name: str
    width: int
    kept: int
    merged: int
    left_out: int
    method: str
    reason: str


@dataclass(frozen=True)
class Report:
    """The account of one compression; see :meth:`as_dict` for its form as JSON."""

    before: Measures
    after: Measures
    groups: Sequence[GroupReport]
    declined: Sequence[Declined]
    notes: Sequence[str]
    command: str
    seed: int
    provider: str | None
    threads: int | None
    verified: bool
    versions: Mapping[str, str] = field(default_factory=lambda: installed_versions())

    @classmethod
    def of(cls, result: Result, **rest: Any) -> Report:
        """Take the account from a result; ``rest`` are the other attributes."""
        return cls(
            groups=group_reports(result),
            declined=tuple(result.declined),
            notes=tuple(result.notes),
            **rest,
        )

    @property
    def removed(self) -> int:
        """How many channels are gone."""
        return sum(group.width - group.kept for group in self.groups)

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        return asdict(self)

    def save(self, path: Path) -> None:
        """Write the report as JSON; a crash leaves the old file or none."""
        atomic_write(path, f"{dumps(self.as_dict())}\n".encode())


def group_reports(result: Result) -> tuple[GroupReport, ...]:
    """Return the account of every group, in topological order."""
    return tuple(
        GroupReport(
            name=outcome.plan.name,
            width=outcome.plan.width,
            kept=len(outcome.plan.kept),
            merged=outcome.merged,
            left_out=outcome.left_out,
            method=outcome.plan.method,
            reason=outcome.plan.reason,
        )
        for outcome in result.outcomes
    )


def check_format(path: Path) -> None:
    """Raise unless a report can be written in the format that the file's name asks for.

    Raises
    ------
    ArgumentError
        The name does not end in ``.json``.
    """
    if path.suffix.lower() != ".json":
        raise ArgumentError(f"report {path}: its name must end in .json")


def dumps(data: Any) -> str:
    """Write JSON that every parser reads: a number that is none (NaN, infinity) is an error."""
    return json.dumps(data, indent=2, allow_nan=False)


def installed_versions() -> dict[str, str]:
    """Return the version of Python and of every installed package that the result rests on."""
    found = {"python": platform.python_version(), "platform": sys.platform}
    for package in REPORTED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
