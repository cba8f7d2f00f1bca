"""Progress on stderr: what goes on, how far it is, and how long the rest may take."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from nmcore.cli import logs

T = TypeVar("T")
Track = Callable[[str, Iterable[Any]], Iterable[Any]]

# Seconds before a progress bar shows up: what is done at once needs none.
PATIENCE = 1.0


@contextmanager
def working(text: str) -> Iterator[Track]:
    """Show that something goes on, on stderr if that is a terminal.

    What it yields wraps an iteration, as in ``track("merging", groups)``, of which it shows how far
    it is and how long the rest may take.
    """
    if not (sys.stderr.isatty() and logs.notices()):
        yield lambda _text, items: items
        return
    with _Patient(*_columns(), console=Console(stderr=True), transient=True) as bar:
        whole = bar.add_task(text, total=None)

        def track(step: str, items: Iterable[T]) -> Iterator[T]:
            steps = list(items)
            bar.update(whole, visible=False)
            part, begin = bar.add_task(step, total=len(steps)), time.monotonic()
            for done, item in enumerate(steps, 1):
                yield item
                bar.update(part, completed=done, pace=(time.monotonic() - begin) / done)
            bar.remove_task(part)
            bar.update(whole, visible=True)

        yield track


def track(text: str, items: Iterable[T]) -> Iterator[T]:
    """Iterate and show how far it is."""
    with working(text) as inner:
        yield from inner(text, items)


class _Patient(Progress):
    """A progress bar that does not show up for what is done at once."""

    _since = math.inf

    def start(self) -> None:
        """Begin to wait."""
        self._since = time.monotonic()
        super().start()

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the bars, or nothing yet."""
        return super().get_renderables() if time.monotonic() - self._since > PATIENCE else ()


def _columns() -> Iterator[ProgressColumn]:
    yield TextColumn("{task.description}")
    yield BarColumn()
    yield _Count()
    yield TimeElapsedColumn()
    yield _Left()


class _Count(MofNCompleteColumn):
    """How many of how many, where that is known."""

    def render(self, task: Task) -> Text:
        """Return ``3/20``."""
        return Text() if task.total is None else super().render(task)


class _Left(ProgressColumn):
    """How long the rest may take at the average pace: steps differ, so the last few say little."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Return ``about 0:12 left``."""
        if task.elapsed is None or task.total is None or "pace" not in task.fields:
            return Text()
        left = max(task.fields["pace"] * task.total - task.elapsed, 0)
        minutes, seconds = divmod(round(left), 60)
        return Text(f"about {minutes}:{seconds:02} left")
