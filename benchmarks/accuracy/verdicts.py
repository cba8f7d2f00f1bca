"""Who wins where: every row of every table, none left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from methods import row_results
from store import Grid, Record


@dataclass(frozen=True)
class Duel:
    """Two methods in one row of a table."""

    row: str
    better: float
    worse: float

    @property
    def won(self) -> bool:
        """Whether the one that should win does."""
        return self.better > self.worse


def duels(records: Sequence[Record], better: str, worse: str) -> Iterator[Duel]:
    """Yield every row in which both methods were measured, by the criterion of ``worse``."""
    grid = Grid(records)
    for record in sorted(records, key=lambda each: [cell.rjust(3) for cell in each.cell.values()]):
        if record.cell.get("method") != worse:
            continue
        row = {k: v for k, v in record.cell.items() if k not in ("criterion", "method")}
        criterion = record.cell["criterion"]
        results = row_results(grid, (better, worse), criterion, **row)
        first, second = results[better], results[worse]
        if first is not None and second is not None and "top1" in second:
            yield Duel(_named(row, criterion), first["top1"], second["top1"])


def sentence(records: Sequence[Record], better: str, worse: str) -> str:
    """Count the rows and name those that go the other way; empty if there are none to compare."""
    found = list(duels(records, better, worse))
    if not found:
        return ""
    lost = [each for each in found if not each.won]
    count = f"**{better}** beats {worse} in {len(found) - len(lost)} of {len(found)} rows"
    if not lost:
        return f"{count}."
    named = "; ".join(f"{each.row} ({each.better:.2f} against {each.worse:.2f})" for each in lost)
    return f"{count}, but not in these: {named}."


def _named(row: Mapping[str, str], criterion: str) -> str:
    known = {"removed": "{} %", "batch norm": "batch norm {}"}
    words = [known.get(label, "{}").format(value) for label, value in row.items()]
    return ", ".join([*words, criterion])
