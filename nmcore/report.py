"""What a compression did, as data: the costs before and after, and the account per group."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmcore.allocation import Spent
from nmcore.cautions import warnings
from nmcore.errors import ArgumentError
from nmcore.files import atomic_write
from nmcore.group import Cost, Declined
from nmcore.summaries import (
    CurveSummary,
    ScalingSummary,
    SimilaritySummary,
    ZSummary,
    pictured,
)

if TYPE_CHECKING:
    from nmcore.evaluate import Fidelity
    from nmcore.latency import Latency
    from nmcore.plan import Outcome
    from nmcore.result import Result
    from nmcore.spread import Spread

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

    @property
    def latency_range(self) -> tuple[float, float] | None:
        """The 10th and the 90th percentile, where they are known."""
        if self.latency_low_ms is None or self.latency_high_ms is None:
            return None
        return self.latency_low_ms, self.latency_high_ms

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
    curve : CurveSummary or None
        The error as channels go, where it was measured.
    similarity : SimilaritySummary or None
        How alike removed and kept channels are, where the method compares them.
    z : ZSummary or None
        A picture of Z, where there is one, for the groups in which most was merged.
    """

    name: str
    width: int
    kept: int
    merged: int
    left_out: int
    method: str
    reason: str
    curve: CurveSummary | None = None
    similarity: SimilaritySummary | None = None
    z: ZSummary | None = None

    @classmethod
    def of(cls, outcome: Outcome, *, picture: bool) -> GroupReport:
        """Take the account of one group; ``picture`` says whether Z belongs to it."""
        plan, scaling, curve = outcome.plan, outcome.scaling, outcome.curve
        shown = ScalingSummary.of(scaling) if scaling else outcome.summary
        return cls(
            name=plan.name,
            width=plan.width,
            kept=len(plan.kept),
            merged=outcome.merged,
            left_out=outcome.left_out,
            method=plan.method,
            reason=plan.reason,
            curve=CurveSummary.of(curve, plan.width, len(plan.kept)) if curve else None,
            similarity=shown.similarity if shown else None,
            z=shown.z if shown and picture else None,
        )


@dataclass(frozen=True)
class Report:
    """The account of one compression; see :meth:`as_dict` for its form as JSON.

    Attributes
    ----------
    before, after : Measures
        The two models.
    groups : sequence of GroupReport
        In topological order.
    declined : sequence of Declined
        What was left alone.
    notes : sequence of str
        What was chosen on the user's behalf, and why.
    command : str
        What to say to get the same again.
    seed, provider, threads, verified, versions
        How it was made, and what measured it.
    model : str or None
        The name of the original's file.
    fidelity : Fidelity or None
        How the results of the two models compare, where there was data to see it on.
    shortfall : sequence of str
        Why the model did not get as much faster as it got smaller, where it did not.
    budget : Spent or None
        What became of the budget, where one was given.
    spread : Spread or None
        How results with other seeds differ, where several were tried.
    cautions : sequence of str
        Why what was measured may be worth little.
    unmeasured : sequence of str
        What could not be measured of the two models, and why.
    """

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
    model: str | None = None
    fidelity: Fidelity | None = None
    shortfall: Sequence[str] = ()
    budget: Spent | None = None
    spread: Spread | None = None
    cautions: Sequence[str] = ()
    unmeasured: Sequence[str] = ()

    @classmethod
    def of(cls, result: Result, **rest: Any) -> Report:
        """Take the account from a result; ``rest`` are the other attributes."""
        source = result.plan.model
        return cls(
            model=source.file if source else None,
            groups=group_reports(result),
            declined=tuple(result.declined),
            notes=tuple(result.notes),
            budget=result.budget,
            spread=result.spread,
            cautions=tuple(result.cautions),
            **rest,
        )

    @property
    def removed(self) -> int:
        """How many channels are gone."""
        return sum(group.width - group.kept for group in self.groups)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the result useless, or next to it, and what is not known, a line each."""
        return (*warnings(self), *self.cautions, *self.unmeasured)

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        budget = self.budget.as_dict() if self.budget else None
        data = asdict(self) | {"warnings": self.warnings, "budget": budget}
        del data["cautions"]  # which are among the warnings
        return data

    def save(self, path: str | Path) -> None:
        """Write the report in the format that the name asks for; a crash leaves no half file.

        Raises
        ------
        ArgumentError
            The name ends neither in ``.json`` nor in ``.html``, or cannot be written to.
        """
        atomic_write(Path(path), _writer(Path(path))(self).encode())


def group_reports(result: Result) -> tuple[GroupReport, ...]:
    """Return the account of every group, in topological order."""
    drawn = pictured(result.outcomes)
    return tuple(GroupReport.of(o, picture=o.plan.name in drawn) for o in result.outcomes)


def as_json(report: Report) -> str:
    """Return the report as JSON."""
    return f"{dumps(report.as_dict())}\n"


def as_html(report: Report) -> str:
    """Return the report as a page that needs nothing else."""
    from nmcore.page import page

    return page(report)


FORMATS: Mapping[str, Callable[[Report], str]] = {".json": as_json, ".html": as_html}


def check_format(path: Path) -> None:
    """Raise unless a report can be written in the format that the file's name asks for.

    Raises
    ------
    ArgumentError
        The name ends in none of :data:`FORMATS`.
    """
    _writer(path)


def _writer(path: Path) -> Callable[[Report], str]:
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        names = " or ".join(FORMATS)
        raise ArgumentError(f"report {path}: its name must end in {names}") from None


def dumps(data: Any) -> str:
    """Write JSON that every parser reads: a number that is none (NaN, infinity) is an error.

    Lists of numbers take one line each.

    >>> print(dumps({"error": [0.5, 1.0]}))
    {
      "error": [0.5, 1.0]
    }
    """
    text = json.dumps(data, indent=2, allow_nan=False)
    # Line breaks inside strings are escaped, so what spans lines is a list.
    return re.sub(r"\[\n[-+\d.eE,\s]+\]", _on_one_line, text)


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{' '.join(numbers[0][1:-1].split())}]"


def installed_versions() -> dict[str, str]:
    """Return the version of Python and of every installed package that the result rests on."""
    found = {"python": platform.python_version(), "platform": sys.platform}
    for package in REPORTED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
