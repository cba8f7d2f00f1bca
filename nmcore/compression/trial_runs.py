"""Runs of a network that a part of a group has been removed from, from where it differs on.

What comes before is the same whatever is removed, so its values are computed once and carried from
one trial to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from nmcore.compression.stream import Stream
from nmcore.data.batches import Feeds
from nmcore.group import Group, Reading, ScorePair
from nmcore.plugins import protocols
from nmcore.plugins.states import serialized_alike


class Tried(Protocol):
    """A part of what may be removed: a :class:`nmcore.compression.output_error.Trial`, or the same
    of channels inside heads.
    """

    @property
    def group(self) -> Group | ScorePair:
        """What it is a part of."""
        ...

    @property
    def error(self) -> float:
        """The error that its curve has there."""
        ...

    def apply(self, graph: protocols.Graph) -> None:
        """Remove it from a graph."""
        ...


@dataclass(eq=False)
class TrialRuns:
    """Trials in the order in which they run, so that values can be carried.

    Attributes
    ----------
    graph : Graph
        What is compressed, before any channel has gone.
    shown : sequence of mapping of input name to array
        What it is shown, a run each.
    session : callable
        Loads a model.
    carries : bool
        Whether values may be carried; else every run begins at the inputs.
    """

    graph: protocols.Graph
    shown: Sequence[Feeds]
    session: Callable[[bytes], protocols.Session]
    carries: bool = True

    def order(self, trials: Sequence[Tried]) -> list[int]:
        """The numbers of trials, those first whose groups are read first."""
        places = {name: number for number, name in enumerate(self._first)}
        return sorted(range(len(trials)), key=lambda k: places.get(trials[k].group.name, 0))

    def of(self, trial: Tried) -> tuple[protocols.Session, Sequence[Feeds]]:
        """The network with a part removed, and what it is to be fed, run by run."""
        clone = self.graph.clone()
        trial.apply(clone)
        start = self._carried_to(self._first.get(trial.group.name))
        if not start:
            return self.session(serialized_alike(clone)), self.shown
        assert isinstance(clone, protocols.Measurable)
        feeds = [{**each, **self._stream.feeds(number)} for number, each in enumerate(self.shown)]
        return self.session(clone.from_cut(start)), feeds

    @cached_property
    def _first(self) -> dict[str, Reading]:
        """The first reading of each group, in the order in which they run."""
        found: dict[str, Reading] = {}
        if self.carries and isinstance(self.graph, protocols.Measurable):
            for reading in self.graph.readings():
                found.setdefault(reading.group, reading)
        return found

    @cached_property
    def _stream(self) -> Stream:
        return Stream()

    def _carried_to(self, reading: Reading | None) -> list[protocols.Carried]:
        """The values to begin with just before a consumer; none to begin at the inputs."""
        if reading is None:
            return []
        assert isinstance(self.graph, protocols.Measurable)
        cut = self.graph.cut([reading]) or ()
        span, arriving = self._stream.to(cut), self._stream.expect(cut)
        if span.stop:
            session = self.session(self.graph.moment_probe([], rows=1, samples=1, current=span))
            for number, feeds in enumerate(self.shown):
                arriving.add(session.run({**feeds, **self._stream.feeds(number)}))
        arriving.done()
        return self._stream.start
