"""How long a model takes once its groups have other widths.

Latency depends on how wide layers are and not on what their weights hold, so candidates are cut
from the original without any compensation: that takes a second, where compensating takes minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.calibration.random_inputs import random_inputs_for
from nmcore.data.feeds import feeder
from nmcore.data.images import Pictures
from nmcore.data.loading import Opened
from nmcore.evaluation.latency import on_one_device, relative
from nmcore.evaluation.timer import Counts
from nmcore.group import Narrowing, Refit
from nmcore.plugins import capabilities, protocols, registry
from nmcore.plugins.states import serialized_alike
from nmcore.utils.logs import step
from nmcore.utils.text import shape_text


@dataclass(frozen=True, eq=False)
class Stopwatch:
    """Times a model at other widths against itself at full width; a
    :class:`~nmcore.evaluation.timer.Timer`.

    Attributes
    ----------
    graph : Graph
        What is timed.
    original : Session
        The same, loaded.
    data : Dataset, Folder, FeedList or None
        Inputs of the shape that counts; without them, and for pictures, random ones.
    providers : sequence of str
        Where it runs.
    threads : int
        Threads that one operator may use on the CPU; 0 for all there are.
    seed : int
        For random inputs.
    """

    graph: protocols.Graph
    original: protocols.Session
    data: Opened | None = None
    providers: Sequence[str] = ("auto",)
    threads: int = 0
    seed: int = 0

    def __call__(self, candidates: Sequence[Counts]) -> list[float]:
        """The time that each candidate takes, as a share of the original's.

        Raises
        ------
        ModelError
            The model runs on no input that was tried, or candidates run on different devices.
        """
        feeds = self.feeds
        with step(f"timing {len(candidates)} candidate widths"):
            sessions = [self.original, *(self._session(cut(self.graph, c)) for c in candidates)]
            runs = [partial(session.run, feeds) for session in sessions]
            return on_one_device(sessions, lambda: relative(runs))

    @cached_property
    def feeds(self) -> dict[str, NDArray[Any]]:
        """What is run: the first inputs of the data, or random ones."""
        return timed_inputs(self.original, self.data, seed=self.seed)

    @property
    def setting(self) -> str:
        """What the times hold for, in words."""
        shapes = " and ".join(shape_text(array.shape) for array in self.feeds.values())
        where = self.original.provider
        if where == "cpu":
            where += f", {self.original.threads} thread{'s' if self.original.threads > 1 else ''}"
        return f"on {where}, with an input of shape {shapes}"

    def _session(self, model: bytes) -> protocols.Session:
        return registry.runtime().session(model, providers=self.providers, threads=self.threads)


def timed_inputs(
    session: protocols.Session, data: Opened | None, *, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """One input, or one batch of the size that a model wants: of the data, else a random one.

    Raises
    ------
    ModelError
        There is no data, or pictures, and the model runs on no random input that was tried.
    DataError
        The data does not fit the model.
    """
    if data is None or isinstance(data, Pictures):
        return random_inputs_for(session, seed=seed)
    bound = data.for_model(session.inputs, 1)
    feed = feeder(bound, session.inputs)
    return feed(next(bound.alike(feed.fixed or 1)))


def cut(original: protocols.Graph, counts: Counts) -> bytes:
    """A model whose groups keep their first so many channels, and nothing makes up for the rest."""
    graph = original.clone()
    for pair in capabilities.score_pairs(graph):
        width = counts.get(pair.name, pair.width)
        if isinstance(graph, capabilities.Narrowable) and width < pair.width:
            first = np.eye(pair.width)[:, :width]
            maps = [np.tile(first, (heads, 1, 1)) for heads in (pair.heads, pair.key_heads)]
            graph.narrow(pair, Narrowing(*maps))
    for group in graph.groups:
        if counts[group.name] < group.width:
            kept = np.arange(counts[group.name])
            for index, consumer in enumerate(graph.consumers(group)):
                graph.update(group, index, Refit(kept, consumer.weight[:, kept]))
            graph.remove(group, kept)
    return serialized_alike(graph)
