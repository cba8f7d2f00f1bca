"""What a model holds and what of it can be compressed, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nmcore.group import Declined, Group, ScorePair
from nmcore.report.html.markup import tag
from nmcore.report.phrases import declined_lines, heads_notes
from nmcore.report.tables import Rows, columns, html_table
from nmcore.utils.text import number, printable


@dataclass(frozen=True, repr=False)
class Inspection:
    """What a model holds and what of it can be compressed.

    Attributes
    ----------
    model : str
        The file, as given; ``model 1`` of bytes and of objects.
    nodes, params : int
        Operators, and numbers in the weights.
    macs : int or None
        Multiply-accumulates of one sample; None where a needed size is unknown.
    assumed : mapping of input name to shape
        What they were counted at, where the model leaves sizes open.
    uncounted : sequence of str
        The nodes that a size is missing for.
    warnings : sequence of str
        What the counts rest on, or why they are unknown, a line each.
    groups : sequence of Group
        The groups whose channels can be removed, in topological order.
    declined : sequence of Declined
        Every weighted node whose channels stay, and why.
    score_pairs : sequence of ScorePair
        The attentions whose queries and keys can become narrower inside each head.
    declined_pairs : sequence of Declined
        Those whose heads keep their width, and why.
    """

    model: str
    nodes: int
    params: int
    macs: int | None
    assumed: Mapping[str, tuple[int, ...]]
    uncounted: Sequence[str]
    warnings: Sequence[str]
    groups: Sequence[Group]
    declined: Sequence[Declined]
    score_pairs: Sequence[ScorePair] = ()
    declined_pairs: Sequence[Declined] = ()

    def __repr__(self) -> str:
        table = columns(_groups(self.groups)) if self.groups else []
        left = [*self.heads, *declined_lines(self.declined)]
        parts = [self.headline, *self.warnings], table, left
        return "\n\n".join("\n".join(part) for part in parts if part)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        lines = (*self.warnings, *self.heads, *declined_lines(self.declined))
        return tag(
            "div",
            tag("p", self.headline),
            html_table(_groups(self.groups)) if self.groups else "",
            *(tag("div", line) for line in lines),
        )

    @property
    def headline(self) -> str:
        """The model and its size in one line."""
        return (
            f"{printable(self.model)}: {number(self.nodes)} nodes, {number(self.params)} "
            f"parameters, {number(self.macs)} MACs"
        )

    @property
    def heads(self) -> Sequence[str]:
        """Which heads can become narrower inside and which cannot, a line each."""
        return [*heads_notes(self.score_pairs, self.declined_pairs)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        return asdict(self)


def _groups(groups: Sequence[Group]) -> Rows:
    return [("group", "width", "<made by", "<read by"), *_rows(groups)]


def _rows(groups: Sequence[Group]) -> Iterator[Sequence[str]]:
    for group in groups:
        blocks = f" x {group.block}" if group.block > 1 else ""
        others = (", ".join(names) for names in (group.producers, group.consumers))
        yield [*map(printable, (group.name, f"{group.width}{blocks}", *others))]
