"""The model that is compressed, opened once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from nmcore.calibration.random_inputs import hints_of, runnable
from nmcore.data.feeds import FeedList
from nmcore.data.loading import Opened
from nmcore.errors import ArgumentError, DataError, ModelError
from nmcore.evaluation.stopwatch import timed_inputs
from nmcore.group import Cost
from nmcore.plan import fingerprint
from nmcore.plan.plan import Source
from nmcore.plugins import protocols, registry
from nmcore.plugins.capabilities import Exemplary
from nmcore.plugins.open_sizes import Stated
from nmcore.plugins.sized_session import sized
from nmcore.plugins.states import Stateful, marked
from nmcore.utils.files import size_of
from nmcore.utils.text import stated_text


class Original:
    """An opened model and what is known of it; what changes it takes a clone of its graph.

    A pickled one holds the name of the model's file, or the bytes of an object in memory, and is
    opened again where it is used.

    Parameters
    ----------
    model : path, bytes or object
        As :func:`nmcore.plugins.open_graph` takes it.
    providers : sequence of str
        Where it runs.
    stated : mapping of str to shape, optional
        The shapes of its inputs, where it leaves sizes open.

    Attributes
    ----------
    graph : Graph
        The model, traced; what is compressed.
    providers : sequence of str
        Where it runs.
    source : callable
        Gives the digest of the model, which begins to be computed here, in another thread.
    """

    def __init__(
        self,
        model: registry.ModelLike,
        providers: Sequence[str] = ("auto",),
        stated: Stated | None = None,
    ) -> None:
        self.model = model
        self._stated = stated
        self.source: Callable[[], Source] = fingerprint.in_background(model, self._full)
        self.providers = providers
        self._sessions: dict[int, protocols.Session] = {}

    def __getstate__(self) -> dict[str, Any]:
        model = self.model
        if isinstance(model, (str, Path)):
            model = Path(model).absolute()
        elif not isinstance(model, bytes):
            model = self._full.serialize()
        return {
            "model": model,
            "data_files": self.data_files,
            "cost": self.cost,
            "size": self.size,
            "providers": self.providers,
            "_stated": dict(self._stated or {}),
            "_sessions": {},
        }

    @cached_property
    def _full(self) -> protocols.Graph:
        return registry.open_graph(self.model, self._stated)

    @cached_property
    def graph(self) -> protocols.Graph:
        """The model, traced."""
        return self._full

    @cached_property
    def data_files(self) -> Sequence[Path]:
        """The files beside its own that hold weights."""
        return self._full.data_files()

    def with_graph(self, graph: protocols.Graph) -> Original:
        """The same original, of which another form of the graph is compressed."""
        copy = object.__new__(Original)
        copy.__dict__.update(self.__dict__, cost=self.cost, graph=graph)
        return copy

    def with_states(self) -> Original:
        """The same original, whose states may shrink where there are any."""
        graph = self.graph
        return self.with_graph(graph.with_states()) if isinstance(graph, Stateful) else self

    def own_data(self) -> FeedList | None:
        """Inputs that lie beside its file, where it runs on none that can be made; else None."""
        if not isinstance(self.model, (str, Path)):
            return None

        def names() -> list[str]:
            return [spec.name for spec in self.session().inputs if not spec.state]

        backends = (each for each in registry.installed() if isinstance(each, Exemplary))
        found = [feeds for each in backends for feeds in each.examples(Path(self.model), names)]
        if not found:
            return None
        try:
            runnable(self.session(), hints=hints_of(self.graph))
        except (ModelError, DataError):
            return FeedList("the test data beside the model", found)
        return None

    def check_sizes(self, data: Opened | None, seed: int) -> None:
        """Raise where it does not run at the shapes that were stated.

        Raises
        ------
        ArgumentError
            It does not.
        DataError
            The data does not fit these shapes.
        """
        if not self._stated:
            return
        try:
            self.session().run(timed_inputs(self.session(), data, seed=seed))
        except ModelError as error:
            names = {name or self.session().inputs[0].name: s for name, s in self._stated.items()}
            raise ArgumentError(
                f"input-shape: the model does not run at {stated_text(names)}: {error}"
            ) from error

    @cached_property
    def cost(self) -> Cost:
        """Its parameters and multiply-accumulates."""
        return self._full.cost()

    @property
    def told(self) -> Sequence[str]:
        """What of its file was not taken over, a line each."""
        return self._full.told() if isinstance(self._full, protocols.Telling) else ()

    @cached_property
    def size(self) -> int:
        """The bytes of its files, or as one file where it is an object in memory."""
        if isinstance(self.model, (str, Path)):
            return size_of([Path(self.model), *self.data_files])
        return len(self.model) if isinstance(self.model, bytes) else self._full.size()

    def serialized(self) -> bytes:
        """The model's content."""
        return self._full.serialize()

    def session(self, threads: int = 0) -> protocols.Session:
        """The model, loaded once for each number of threads that one operator may use."""
        if threads not in self._sessions:
            self._sessions[threads] = self.loaded(self._full.serialize(), threads)
        return self._sessions[threads]

    def loaded(self, model: bytes, threads: int = 0) -> protocols.Session:
        """Another form of it, loaded where it runs itself."""
        loaded = registry.runtime().session(model, providers=self.providers, threads=threads)
        return marked(sized(loaded, self._stated), self.graph)
