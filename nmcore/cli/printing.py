"""What several commands print alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


def print_declined(out: Any, declined: Sequence[Any]) -> None:
    """Say what is left alone, and why."""
    from nmcore.cli import terminal as t
    from nmcore.report.phrases import declined_lines
    from nmcore.utils.text import printable

    if declined:
        out.print()
    for line in declined_lines(declined, t.name_in_text):
        out.print(printable(line))


def print_json(data: Any) -> None:
    """Print data for machines, the only thing on stdout."""
    from nmcore.report.writers import dumps

    click.echo(dumps(data))


def plain(record: Any) -> dict[str, Any]:
    """Return a record's fields by name."""
    from dataclasses import asdict

    return asdict(record)
