"""The model that is compressed, opened once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nmcore.calibration.random_inputs import hints_of, runnable
from nmcore.data.feeds import FeedList
from nmcore.errors import DataError, ModelError
from nmcore.group import Cost
from nmcore.plan import fingerprint
from nmcore.plan.plan import Source
from nmcore.plugins import protocols, registry
from nmcore.plugins.capabilities import Exemplary
from nmcore.plugins.states import Stateful, marked
from nmcore.utils.files import size_of


class Original:
    """An opened model and what is known of it; what changes it takes a clone of its graph.

    Parameters
    ----------
    model : path or object
        As :func:`nmcore.plugins.open_graph` takes it.
    providers : sequence of str
        Where it runs.

    Attributes
    ----------
    graph : Graph
        The model, traced; what is compressed.
    source : callable
        Gives the digest of the model, which begins to be computed here, in another thread.
    """

    def __init__(self, model: Any, providers: Sequence[str] = ("auto",)) -> None:
        self.model = model
        self.graph: protocols.Graph = registry.open_graph(model)
        self.source: Callable[[], Source] = fingerprint.aside(model, self.graph)
        self._full = self.graph
        self._providers = providers
        self._sessions: dict[int, protocols.Session] = {}
        self._cost: Cost | None = None

    def with_graph(self, graph: protocols.Graph) -> Original:
        """The same original, of which another form of the graph is compressed."""
        copy = object.__new__(Original)
        copy.__dict__.update(self.__dict__)
        copy._cost = self.cost
        copy.graph = graph
        return copy

    def with_states(self) -> Original:
        """The same original, whose states may shrink where there are any."""
        graph = self.graph
        return self.with_graph(graph.with_states()) if isinstance(graph, Stateful) else self

    def own_data(self) -> FeedList | None:
        """Inputs that lie beside its file, where it runs on none that can be made; else None."""
        if not isinstance(self.model, (str, Path)):
            return None
        session = self.session()
        names = [spec.name for spec in session.inputs if not spec.state]
        backends = (each for each in registry.installed() if isinstance(each, Exemplary))
        found = [feeds for each in backends for feeds in each.examples(Path(self.model), names)]
        if not found:
            return None
        try:
            runnable(session, hints=hints_of(self.graph))
        except (ModelError, DataError):
            return FeedList("the test data beside the model", found)
        return None

    @property
    def cost(self) -> Cost:
        """Its parameters and multiply-accumulates."""
        if self._cost is None:
            self._cost = self._full.cost()
        return self._cost

    @property
    def told(self) -> Sequence[str]:
        """What of its file was not taken over, a line each."""
        return self._full.told() if isinstance(self._full, protocols.Telling) else ()

    @property
    def size(self) -> int:
        """The bytes of its files, or as one file where it is an object in memory."""
        if not isinstance(self.model, (str, Path)):
            return self._full.size()
        return size_of([Path(self.model), *self._full.data_files()])

    def session(self, threads: int = 0) -> protocols.Session:
        """The model, loaded once for each number of threads that one operator may use."""
        if threads not in self._sessions:
            session = registry.runtime().session(
                self._full.serialize(), providers=self._providers, threads=threads
            )
            self._sessions[threads] = marked(session, self.graph)
        return self._sessions[threads]
