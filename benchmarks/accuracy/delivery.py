"""What a benchmark hands over: tables on the screen, and beside its JSON Markdown and a picture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from figures import Panel, can_draw, draw
from tables import Table

from nmcore.utils.files import atomic_write


@dataclass(frozen=True)
class Outcome:
    """Tables and panels made from records alone, so that a page can make them again."""

    tables: Sequence[Table]
    panels: Sequence[Panel] = ()

    def markdown(self) -> str:
        """Write all tables."""
        parts = []
        for table in self.tables:
            parts += [f"**{table.title}**"] if table.title else []
            parts.append(table.markdown())
        return "\n\n".join(parts)


def deliver(outcome: Outcome, json: Path | None) -> None:
    """Print the tables; with a JSON file, write them and the picture beside it."""
    print(outcome.markdown())
    if json is not None:
        save(outcome, json)


def save(outcome: Outcome, json: Path) -> None:
    """Write ``.md`` and ``.svg`` beside the JSON that they are made from."""
    atomic_write(json.with_suffix(".md"), f"{outcome.markdown()}\n".encode())
    if not outcome.panels:
        return
    if can_draw():
        draw(outcome.panels, json.with_suffix(".svg"))
    else:
        print("no picture without matplotlib: pip install '.[report]'", file=sys.stderr)
