"""What each group of channels can lose, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from nmcore.evaluation.metrics.figures import figure_of
from nmcore.plan.summaries import CurveSummary
from nmcore.report.html.markup import tag
from nmcore.report.tables import Rows, columns, html_table
from nmcore.utils.text import error_text, number, percent, printable

# Shares of a group's channels for which errors are told.
RATIOS = (0.25, 0.5, 0.75)
# What is printed where these measures are.
ERROR = (
    "errors are mean squared errors over the variance of what the next layers compute: "
    "0 is none, 1 is all"
)


@dataclass(frozen=True)
class GroupSensitivity:
    """What a group holds, and what cutting it alone costs.

    Attributes
    ----------
    name : str
        The group's name.
    width : int
        Its channels.
    params : int
        Parameters of the layers that make and read the channels; a layer between two groups counts
        for both.
    macs : int or None
        The same of multiply-accumulates; None where the model's are unknown.
    removed : tuple of int
        How many channels go at each of :data:`RATIOS`; fewer than asked for where the group is
        too narrow, down to none.
    error : tuple of float or None
        The predicted relative error at each of them: the mean squared error of what the next
        layers compute, relative to its variance, on average over these layers. None where nothing
        goes or nothing can be said.
    drop : tuple of float or None
        What the whole model was measured to lose at each of them; see :class:`Sensitivity`.
    note : str
        Why there is no error; empty where there is.
    curve : CurveSummary or None
        The error for any number of channels.
    """

    name: str
    width: int
    params: int
    macs: int | None
    removed: tuple[int, ...]
    error: tuple[float | None, ...]
    drop: tuple[float | None, ...]
    note: str = ""
    curve: CurveSummary | None = None


@dataclass(frozen=True, repr=False)
class Sensitivity:
    """What each group of a model can lose, in topological order.

    Attributes
    ----------
    groups : tuple of GroupSensitivity
        The groups whose channels can be removed, and no others.
    source : str
        What the errors were predicted from.
    measure : str or None
        What ``drop`` is: the loss by the metric of this name, of
        :data:`nmcore.evaluation.metrics.registry.METRICS`. That is the one that was asked for; else
        ``top1`` where the data has classes, and what suits the form of the outputs, as
        ``agreement``, ``cosine`` or ``boxes``; else ``deviation``. None where nothing was measured.
    measured_on : str or None
        The inputs that it was measured on.
    ratios : tuple of float
        The shares of the channels that the errors and drops are of.
    """

    groups: tuple[GroupSensitivity, ...]
    source: str
    measure: str | None = None
    measured_on: str | None = None
    ratios: tuple[float, ...] = RATIOS

    def __repr__(self) -> str:
        return sensitivity_text(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return sensitivity_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        return asdict(self)


def sensitivity_text(found: Sensitivity) -> str:
    """What each group can lose."""
    return "\n".join([*columns(_sensitivity(found)), "", *predicted_on(found)])


def sensitivity_html(found: Sensitivity) -> str:
    """The same for a notebook."""
    lines = (tag("div", line) for line in predicted_on(found))
    return tag("div", html_table(_sensitivity(found)), *lines)


def predicted_on(found: Sensitivity) -> Iterator[str]:
    """Say what errors and drops of groups are, what they rest on, and why some are missing."""
    shares = ", ".join(f"{100 * ratio:.0f}" for ratio in found.ratios)
    source = printable(found.source)
    yield f"each group cut alone by {shares} % of its channels; predicted on {source}"
    yield ERROR
    if found.measure is not None:
        drop = figure_of(found.measure).drop
        yield f"drop: {drop}, measured on {printable(str(found.measured_on))}"
        yield "the same inputs that the layers were refitted to: on others the drop may be larger"
    for row in found.groups:
        if row.note:
            yield printable(f"{row.name}: {row.note}")
    if any(not all(row.removed) for row in found.groups):
        yield "-: too narrow to lose that share, so nothing would go"


def _sensitivity(found: Sensitivity) -> Rows:
    shares = [f"{100 * ratio:.0f}%" for ratio in found.ratios]
    measured = found.measure is not None
    head = ["group", "width", "params", "MACs", *(f"error {share}" for share in shares)]
    rows = [
        (
            *(printable(row.name), f"{row.width:,}", number(row.params), number(row.macs)),
            *map(error_text, row.error),
            *(map(percent, row.drop) if measured else ()),
        )
        for row in found.groups
    ]
    return [[*head, *(f"drop {share}" for share in shares if measured)], *rows]
