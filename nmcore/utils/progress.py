"""Progress over an iteration: the type of what shows it, and showing none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

Progress = Callable[[str, Iterable[Any]], Iterable[Any]]


def silent(_text: str, groups: Iterable[Any]) -> Iterable[Any]:
    """Show no progress."""
    return groups
